"""A whole configuration, compared and applied at once."""
