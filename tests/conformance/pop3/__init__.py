"""POP3 as clients meet it."""
