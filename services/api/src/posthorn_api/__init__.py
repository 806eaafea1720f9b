"""The REST API: domains, accounts, aliases, mail and dead letters, and the publisher of the
directory."""
