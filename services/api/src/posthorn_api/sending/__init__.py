"""Sending of messages over HTTP."""
