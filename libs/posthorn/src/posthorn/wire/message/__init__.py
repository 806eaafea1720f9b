"""Internet messages: header, MIME structure, encodings, trace fields and DSNs (RFC 5322, 2045,
3464)."""
