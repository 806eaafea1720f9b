"""Delivery: from the ingest stream into mailboxes and the outbound queue, in batches of what is
waiting."""
