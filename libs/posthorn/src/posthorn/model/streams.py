"""Names on NATS that services meet by. A change here is a change of protocol between releases."""

from __future__ import annotations

INGEST = "INGEST"
"""Work-queue stream of accepted messages."""
INGEST_SUBJECT = "ingest.0"
"""Subject of partition 0; the stream takes ``ingest.*``."""
INGEST_CONSUMER = "delivery"
"""The durable pull consumer that all delivery processes share; it gets ``ingest.*``."""
RETRY_CONSUMER = "delivery-retry"
"""The same for what could not be placed at first; it gets ``retry.*``, on the same stream."""
DEAD = "DEAD"
"""Stream of messages that delivery could not place."""
DEAD_SUBJECT = "dead.0"
DIRECTORY = "directory"
"""Key-value bucket: whose is an address."""
EVENTS = "EVENTS"
"""Stream of what happened to messages; see ``model.events``."""
EVENTS_PREFIX = "events."
"""What the subject of an event begins with; the slot follows."""
WAKE_SUBJECT = "relay.wake"
"""Plain subject, not on any stream: something is due in the outbound queue."""


def retry_subject(subject: str) -> str:
    """Return the subject of the retry lane for what came under ``subject``: the last token, the publisher's word, stays."""
    return f"retry.{subject.rpartition('.')[2]}"


def is_retry(subject: str) -> bool:
    """Return whether a subject on INGEST belongs to the retry lane."""
    return subject.startswith("retry.")
