"""Names on NATS that services meet by. A change here is a change of protocol between releases."""

from __future__ import annotations

INGEST = "INGEST"
"""Work-queue stream of accepted messages."""
LEGACY_SUBJECT = "ingest.0"
"""Where releases up to 0.1 published every message; still consumed, no longer published to."""
_ROLE_WORDS = {"mx": "mx", "submission": "submission", "send": "api", "notice": "notice"}
"""Envelope role: last token of the subjects of its messages."""
_ROLES = {word: role for role, word in _ROLE_WORDS.items()}
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


def ingest_subject(role: str) -> str:
    """Return the subject on INGEST of messages with this envelope role. Raises KeyError for a role that does not exist."""
    return f"ingest.{_ROLE_WORDS[role]}"


def subject_word(subject: str) -> str:
    """Return the last token of a subject on INGEST or DEAD: the word that names the publishing role, or ``0``."""
    return subject.rpartition(".")[2]


def role_of_subject(subject: str) -> str | None:
    """Return the envelope role that a subject stands for, such as ``submission`` for ``ingest.submission``.

    Only the last token counts, so that it holds for every lane of INGEST. None for a subject of an older release, which says
    nothing of the role. Raises ValueError for any other subject.
    """
    word = subject_word(subject)
    if word == subject_word(LEGACY_SUBJECT):
        return None
    if word not in _ROLES:
        raise ValueError(f"the subject {subject} belongs to no role")
    return _ROLES[word]


def retry_subject(subject: str) -> str:
    """Return the subject of the retry lane for what came under ``subject``: the last token, the publisher's word, stays."""
    return f"retry.{subject.rpartition('.')[2]}"


def is_retry(subject: str) -> bool:
    """Return whether a subject on INGEST belongs to the retry lane."""
    return subject.startswith("retry.")
