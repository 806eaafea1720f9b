"""Names of streams, subjects and buckets on NATS, shared by services. A change here is a
protocol change between releases."""

from __future__ import annotations

INGEST = "INGEST"
"""Work-queue stream of accepted messages, or its first partition."""
MOST_PARTITIONS = 64
"""Most partitions of INGEST (ADR 48)."""
PARTITIONS_PREFIX = "partition."
"""Prefix of the subjects of all partitions but the first; the number follows, then the subject
that the message would have on the first one."""
LEGACY_SUBJECT = "ingest.0"
"""Where releases up to 0.1 published every message; still consumed, no longer published to."""
_ROLE_WORDS = {"mx": "mx", "submission": "submission", "send": "api", "notice": "notice"}
"""Envelope role: last token of the subjects of its messages."""
_ROLES = {word: role for role, word in _ROLE_WORDS.items()}
INGEST_CONSUMER = "delivery"
"""The durable pull consumer that all delivery processes share; it gets ``ingest.*``."""
RETRY_CONSUMER = "delivery-retry"
"""The same for messages that could not be delivered at first; it gets ``retry.*``, on the same
stream."""
UNSCANNED_CONSUMER = "scan"
"""The durable pull consumer that all scan processes share; it gets ``unscanned.*``, on the same
stream."""
FRAMES_CONSUMER = "delivery-frames"
"""The same as the first one for frames, messages that were published together; it gets
``frames.*.*``, on the same stream (``model.frame``)."""
MOST_IN_FRAME = 64
"""Most messages of a frame: the work of whoever takes one is bounded."""
FRAMES = "frames.*.*"
"""Subjects of frames: the publisher's role and the number of messages follow."""
DEAD = "DEAD"
"""Stream of messages that delivery could not deliver."""
DEAD_SUBJECT = "dead.0"
DIRECTORY = "directory"
"""Key-value bucket of the directory."""
EVENTS = "EVENTS"
"""Stream of events of messages; see ``model.events``."""
EVENTS_PREFIX = "events."
"""Prefix of the subject of an event; the slot follows."""
WAKE_SUBJECT = "relay.wake"
"""Core NATS subject, on no stream: something is due in the outbound queue."""
RELAY_OFFERS, RELAY_HANDED = "relay.offers", "relay.handed"
"""Core NATS subjects, on no stream: relays that take hand-overs, and what delivery has claimed for
one (``ports.hand_over``)."""
RELAY_PROBE = "relay.probe"
"""Core NATS subject on which the API asks a relay to probe a route (``ports.route_probes``)."""
RELAY_PROBE_QUEUE = "relay"
"""Queue group of the relays that answer it."""
MAILBOX_HINTS = "mailboxes.changed"
"""Core NATS subject, on no stream: mailboxes that changed (``ports.mailbox_hints``)."""

SCAN_SENDER, SCAN_MESSAGE = "scan.sender", "scan.message"
"""Core NATS subjects of the questions to the scanning tier (``ports.scan``)."""
SCAN_REPORT = "scan.report"
"""Core NATS subject on which smtp-in reports what clients do, for the shared counters."""
SCAN_STATE = "scan.state"
"""Core NATS subject on which the API asks for the tier's state and for our own listings."""
SCAN_QUEUE = "scan"
"""Queue group of the processes that answer them."""
CORRESPONDENTS = "delivery.correspondents"
"""Core NATS subject on which smtp-in asks whether an account has written to an author."""
CORRESPONDENTS_QUEUE = "delivery"
"""Queue group of the processes that answer it."""
HEARTBEATS_PREFIX = "heartbeats."
"""Core NATS subjects, on no stream: what each process tells of itself (``model.heartbeat``); the
part follows."""
COUNTERS = "COUNTERS"
"""Stream of counters of client networks (memory), written by scan alone; subjects
``counters.<window>.<kind>.<network>``."""
COUNTERS_PREFIX = "counters."
BANS = "bans"
"""Key-value bucket of banned networks, written by scan alone and watched by smtp-in."""
GREYLIST = "greylist"
"""Key-value bucket of strangers that were asked to come again; scan alone."""


def ingest_stream(partition: int) -> str:
    """Return the name of the stream that is this partition of INGEST."""
    return f"{INGEST}_{partition}" if partition else INGEST


def partition_of_stream(name: str) -> int | None:
    """Return the partition that a stream of this name is; None for any other stream."""
    if name == INGEST:
        return 0
    prefix, _, number = name.partition("_")
    if prefix != INGEST or not number.isascii() or not number.isdigit() or number[0] == "0":
        return None
    return int(number) if int(number) < MOST_PARTITIONS else None


def in_partition(subject: str, partition: int) -> str:
    """Return the subject, or the filter, that this one of the first partition is in another."""
    return f"{PARTITIONS_PREFIX}{partition}.{subject}" if partition else subject


def partition_of(subject: str) -> int:
    """Return the partition of INGEST to which a subject belongs. Raises ValueError for one that
    names none."""
    if not subject.startswith(PARTITIONS_PREFIX):
        return 0
    number = subject.split(".")[1]
    partition = partition_of_stream(f"{INGEST}_{number}")
    if partition is None:
        raise ValueError(f"the subject {subject} belongs to no partition")
    return partition


def stream_of(subject: str) -> str:
    """Return the stream of INGEST that stores what is published under a subject. Raises ValueError
    for one that names no partition."""
    return ingest_stream(partition_of(subject))


def _in_first(subject: str) -> str:
    """Return the subject that this one would be on the first partition."""
    return subject.split(".", 2)[-1] if subject.startswith(PARTITIONS_PREFIX) else subject


def ingest_subject(role: str) -> str:
    """Return the subject on INGEST of messages with this envelope role. Raises KeyError for a
    role that does not exist."""
    return f"ingest.{_ROLE_WORDS[role]}"


def first_lane(subject: str) -> str:
    """Return the subject of the first lane for a message of any lane, of the same role and
    partition."""
    return in_partition(f"ingest.{subject_word(subject)}", partition_of(subject))


def subject_word(subject: str) -> str:
    """Return the last token of a subject on INGEST or DEAD: the word that names the publishing
    role, or ``0``."""
    return subject.rpartition(".")[2]


def role_of_subject(subject: str) -> str | None:
    """Return the envelope role that a subject stands for, such as ``submission`` for
    ``ingest.submission``.

    Only the last token counts, so that it works for every lane of INGEST. None for a subject of an
    older release, which does not name the role. Raises ValueError for any other subject.
    """
    word = subject_word(subject)
    if word == subject_word(LEGACY_SUBJECT):
        return None
    if word not in _ROLES:
        raise ValueError(f"the subject {subject} belongs to no role")
    return _ROLES[word]


def retry_subject(subject: str) -> str:
    """Return the subject of the retry lane for a message of ``subject``: the last token, the
    publisher's role, stays, and so does the partition."""
    return in_partition(f"retry.{subject_word(subject)}", partition_of(subject))


def is_retry(subject: str) -> bool:
    """Return whether a subject on INGEST belongs to the retry lane."""
    return _in_first(subject).startswith("retry.")


def unscanned_subject(role: str) -> str:
    """Return the subject on INGEST of messages that wait for the scanning tier. Raises KeyError
    for a role that does not exist."""
    return f"unscanned.{_ROLE_WORDS[role]}"


def frame_subject(subject: str, messages: int) -> str:
    """Return the subject on INGEST of a frame of so many messages of ``ingest.<role>``, in the
    same partition."""
    return in_partition(f"frames.{subject_word(subject)}.{messages}", partition_of(subject))


def is_frame(subject: str) -> bool:
    """Return whether a subject on INGEST is that of frames."""
    return _in_first(subject).startswith("frames.")


def subject_in_frame(subject: str) -> str:
    """Return the subject that a message has in the frame of this subject: ``ingest.mx`` in
    ``frames.mx.7``. Who may publish the one may publish the other."""
    return first_lane(subject.rpartition(".")[0])


def messages_under(subject: str) -> int:
    """Return how many messages a stream message of this subject on INGEST holds, as its
    publisher says: ``MOST_IN_FRAME`` at most, and 1 where it says nothing sensible."""
    count = subject_word(subject)
    if not is_frame(subject) or not (count.isascii() and count.isdigit()) or len(count) > 3:
        return 1
    return min(int(count), MOST_IN_FRAME)


def scanned_id(message_id: str) -> str:
    """Return the ``Nats-Msg-Id`` under which a message goes from the unscanned lane to the first
    one: the same from every process, so that it is moved once."""
    return f"{message_id}.scanned"
