"""Statements composed of the conditions that a search has, so that each is answered by its own
index."""

from __future__ import annotations

from typing import Any


class Conditions:
    """Conditions with their values. In a condition ``{}`` stands for its value."""

    def __init__(self) -> None:
        self.conditions: list[str] = []
        self.values: list[Any] = []

    def add(self, condition: str, *values: Any) -> None:
        """Add a condition that must hold."""
        first = len(self.values) + 1
        self.conditions.append(
            condition.format(*(f"${number}" for number in range(first, first + len(values))))
        )
        self.values += values

    def into(self, query: str, limit: int) -> str:
        """Return the query with the conditions for ``{where}`` and a limit for ``{limit}``, which
        is a literal, so that the plan fits it."""
        return query.format(where=" AND ".join(self.conditions) or "true", limit=int(limit))
