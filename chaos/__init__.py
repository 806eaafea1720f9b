"""The running system hurt on purpose, under a load whose every message is accounted for: `python -m chaos`."""
