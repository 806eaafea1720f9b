"""The IMAP service: mailboxes on every device (RFC 9051, RFC 3501; ADR 33)."""
