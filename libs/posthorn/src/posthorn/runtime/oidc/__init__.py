"""Tokens of an OpenID Connect issuer: its keys, what is checked, whose mailbox they open."""
