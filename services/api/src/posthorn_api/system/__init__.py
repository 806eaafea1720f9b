"""The state of the whole system: its processes, what waits, and what is behind."""
