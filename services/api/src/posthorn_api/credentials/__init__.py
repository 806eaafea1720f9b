"""DKIM keys and app passwords."""
