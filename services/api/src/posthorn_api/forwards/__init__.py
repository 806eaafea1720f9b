"""Confirmation of forwarding targets."""
