"""POP3: the state machine of the server side, its grammar and its replies (RFC 1939, 2449)."""
