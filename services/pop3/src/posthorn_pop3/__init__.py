"""The POP3 service: mail clients read their maildrops here (RFC 1939)."""
