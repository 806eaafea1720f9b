"""Frozen data and pure policy: what a message is and what is to be done with it."""
