"""The page of events: what happens to a message, as traces and webhooks tell it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

from deploy.docs.markdown import code, page, prose, table
from deploy.docs.source import ROOT, constant_docs

from posthorn.model.events import BOUNCED, Event
from posthorn_api.webhooks.matching import KINDS, TEST, document

_ABOUT = """\
Services record what happens to each message. `posthorn trace ID` and `GET /v1/messages/{id}/trace` show the events of one
message in the order of time, [webhooks](../how-to/webhooks.md) send them as they happen, and `posthorn stats` counts them.
Events are kept for `POSTHORN_EVENTS_MAX_AGE_SECONDS`, 14 days unless you say otherwise.

A tenant sees the events of messages that it sent, of what was delivered in its domains, and of what its aliases forwarded."""


def events_page() -> str:
    """Return the page. Raises ValueError when an event that webhooks know of has no description."""
    described = {
        kind: about
        for kinds, about in constant_docs(ROOT / "libs/posthorn/src/posthorn/model/events.py")
        for kind in kinds
    }
    missing = [kind for kind in KINDS if not described.get(kind)]
    if missing:
        raise ValueError(f"model/events.py does not describe {', '.join(missing)}")
    rows = [(code(kind), prose(described[kind])) for kind in KINDS]
    rows.append(
        (code(TEST), "Sent to a webhook on demand (`posthorn webhook test`); part of no trace.")
    )
    example = Event(
        UUID("0198c1d2-7a3b-7c4d-8e5f-000000000001"),
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp(),
        BOUNCED,
        {
            "recipient": "bob@example.org",
            "host": "mx.example.org",
            "status": "5.1.1",
            "reply": "550 5.1.1 user unknown",
        },
    )
    sent = json.dumps(document(example), indent=2)
    return page(
        "Events",
        _ABOUT,
        table(("event", "meaning and details"), rows),
        f"As a webhook gets it:\n\n```json\n{sent}\n```",
    )
