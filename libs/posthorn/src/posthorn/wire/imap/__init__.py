"""IMAP without I/O, server side (RFC 3501, RFC 9051 and extensions): grammar, machine, replies."""
