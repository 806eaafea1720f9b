"""The kinds of events that the API names (``posthorn.model.events``)."""

from __future__ import annotations

from typing import Literal

OnTheWay = Literal[
    "accepted",
    "delivered",
    "queued",
    "deferred",
    "bounced",
    "notice",
    "held",
    "released",
    "cancelled",
    "retried",
    "read",
]
"""Those of a message on its way, from its acceptance to its reader."""
type Kind = Literal[
    OnTheWay,
    "scanned",
    "refused",
    "filed",
    "quarantined",
    "restored",
    "classified",
    "listed",
    "dns-changed",
    "complained",
]
"""All."""
