"""Copies of messages that were withheld."""
