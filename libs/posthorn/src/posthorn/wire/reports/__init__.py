"""Automatic reports about mail: DMARC aggregates (RFC 9990, RFC 7489), TLS-RPT (RFC 8460) and ARF
(RFC 5965), parsed
defensively and written as the RFCs demand."""
