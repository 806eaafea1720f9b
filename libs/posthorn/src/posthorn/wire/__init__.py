"""Protocols and formats without I/O: bytes in, events and bytes out."""
