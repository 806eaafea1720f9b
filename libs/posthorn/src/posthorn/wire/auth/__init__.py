"""Authentication of messages: DKIM and Authentication-Results (RFC 6376, 8601)."""
