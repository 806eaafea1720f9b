"""The outbound queue, smart host routes and suppressions."""
