"""Fault injection into the running system, under a load whose every message is accounted for:
`python -m chaos`."""
