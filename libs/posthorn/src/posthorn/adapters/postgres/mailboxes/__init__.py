"""Delivered messages, maildrops, mailboxes and segments in Postgres."""
