"""Messages that were accepted and could not be delivered."""
