"""The REST API on real stores."""
