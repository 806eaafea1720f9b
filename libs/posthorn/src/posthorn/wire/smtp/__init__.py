"""SMTP: commands and replies of both sides, message content on the wire (RFC 5321, 1870, 3030,
3461, 4954)."""
