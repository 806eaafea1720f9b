"""The relay: sends mail from the outbound queue to other mail servers."""
