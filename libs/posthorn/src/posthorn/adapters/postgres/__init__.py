"""PostgreSQL: the directory, mailboxes, the outbound queue, access, events."""
