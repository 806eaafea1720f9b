"""Submission as clients meet it."""
