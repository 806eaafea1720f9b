"""The domain model: frozen dataclasses and pure policy."""
