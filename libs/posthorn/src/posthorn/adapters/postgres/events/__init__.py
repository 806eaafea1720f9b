"""Statistics and webhooks in Postgres."""
