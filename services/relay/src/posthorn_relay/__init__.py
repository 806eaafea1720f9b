"""The relay: carries letters from the outbound queue to other mail servers."""
