"""Frozen data and pure policy: what a letter is and what is to be done with it."""
