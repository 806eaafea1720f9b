"""The ports on real parts."""
