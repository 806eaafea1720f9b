"""Servers, clients and systems that tests start."""
