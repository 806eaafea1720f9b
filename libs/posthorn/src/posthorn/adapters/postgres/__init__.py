"""PostgreSQL: accounts, mailboxes, maildrops, the directory outbox."""
