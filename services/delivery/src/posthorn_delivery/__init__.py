"""Delivery: from the ingest stream into mailboxes, in batches of whatever waits."""
