"""The state of the scanning tier, and blocklists that hold names of ours."""
