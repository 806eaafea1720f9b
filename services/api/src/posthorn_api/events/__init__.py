"""Statistics and the reader of events."""
