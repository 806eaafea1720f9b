"""API keys, tenant scope, rights to content, the audit log and idempotency keys in Postgres."""
