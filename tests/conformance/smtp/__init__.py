"""SMTP as clients meet it."""
