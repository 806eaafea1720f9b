"""Search for what filtering did to messages."""
