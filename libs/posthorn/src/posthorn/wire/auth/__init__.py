"""Authentication of messages: SPF, DKIM, ARC, DMARC and Authentication-Results (RFC 7208, 6376, 8617,
9989, 8601)."""
