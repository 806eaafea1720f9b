"""NATS users: one for each part, with the subjects it may publish and subscribe to.

The chart, docker-compose.yml and local mode are configured from the table below (``users_config``),
and the tests run a server with it. An external NATS is set up from the same text
(docs/operations.md).

Rules:

- A part publishes messages under the subject of its own role only, so that the subject proves the
  publisher (``model.authority``).
- A part reads replies under ``_INBOX.<part>.`` only: no part sees another's replies.
- Delivery and api create and update streams (``LAYOUT_KEEPERS``), delivery alone the further
  partitions of INGEST. The others wait until these exist (``layout``).
- Every publisher may write to all partitions of INGEST, so that their number is raised without a
  change of the server's users. A stream's administration is permitted by the names of the 64
  partitions, a consumer's by that of the consumer, since no other stream has such ones.
- Only delivery reads INGEST, and scan its unscanned lane; both move messages of that lane to the
  first one. DEAD is written by delivery; api reads it, and discards or retries its messages. Only
  api writes the directory.
- scan and delivery answer requests of smtp-in, scan and relay those of api: they may publish to the
  reply subject of a request that they got, once, and scan to no other. Scan alone writes the
  counters, the bans and the greylist.
- smtp-in (both roles) reads the directory by direct get and a watch. A watch is a push consumer
  whose deliver subject the server does not check against its user's permissions; it delivers only
  where some client listens, from a stream that holds nothing that smtp-in could have written. So
  smtp-in must not create a consumer on a stream that it may publish to.
- Each part sends heartbeats under its own name only; api alone hears them (ADR 44).
- ``posthorn`` is the administrator: for operators and tools, used by no part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from posthorn.model.directory_entry import HALTED_KEY, INSTALLATION_KEY
from posthorn.model.streams import (
    BANS,
    CORRESPONDENTS,
    COUNTERS,
    COUNTERS_PREFIX,
    DEAD,
    DIRECTORY,
    EVENTS,
    EVENTS_PREFIX,
    FRAMES,
    FRAMES_CONSUMER,
    GREYLIST,
    HEARTBEATS_PREFIX,
    INGEST,
    INGEST_CONSUMER,
    MAILBOX_HINTS,
    MOST_PARTITIONS,
    PARTITIONS_PREFIX,
    RELAY_HANDED,
    RELAY_OFFERS,
    RELAY_PROBE,
    RETRY_CONSUMER,
    SCAN_MESSAGE,
    SCAN_REPORT,
    SCAN_SENDER,
    SCAN_STATE,
    UNSCANNED_CONSUMER,
    WAKE_SUBJECT,
    frame_subject,
    ingest_stream,
    ingest_subject,
    unscanned_subject,
)

ADMINISTRATOR: Final = "posthorn"
"""The user with all permissions."""
LAYOUT_KEEPERS: Final = frozenset({"delivery", "api"})
"""Parts that create and update streams."""
_BUCKET: Final = f"KV_{DIRECTORY}"
_KEYS: Final = f"$KV.{DIRECTORY}.>"
_BANS: Final = f"KV_{BANS}"
_GREYLIST: Final = f"KV_{GREYLIST}"
_STREAMS: Final = (INGEST, DEAD, EVENTS, _BUCKET, COUNTERS, _BANS, _GREYLIST)


@dataclass(frozen=True, slots=True)
class User:
    """The permissions of a part on NATS."""

    part: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    answers: bool = False
    """Whether it may answer a request that it received, once, within a minute."""

    @property
    def variable(self) -> str:
        """Environment variable from which the server reads the user's password."""
        return f"NATS_{self.part.replace('-', '_').upper()}_PASSWORD"


def inbox_prefix(part: str) -> str:
    """Return the prefix of a part's reply subjects."""
    return f"_INBOX.{part}"


def _api(*operations: str) -> tuple[str, ...]:
    return tuple(f"$JS.API.{operation}" for operation in operations)


_EVENTS = (f"{EVENTS_PREFIX}*",)
_ADVISORIES = tuple(
    f"$JS.EVENT.ADVISORY.STREAM.{event}.{_BUCKET}" for event in ("CREATED", "DELETED")
)
_DIRECTORY = (
    *_api(
        f"STREAM.INFO.{_BUCKET}",
        f"DIRECT.GET.{_BUCKET}.{_KEYS}",
        f"CONSUMER.CREATE.{_BUCKET}",
        f"CONSUMER.DELETE.{_BUCKET}.*",
    ),
    f"$JS.FC.{_BUCKET}.>",
)
"""Permissions to read the directory: direct gets, the watch, and its flow control."""
_MARKS = tuple(f"$KV.{DIRECTORY}.{key}" for key in (INSTALLATION_KEY, HALTED_KEY))
"""Keys of the bucket that delivery may write, like api (ADR 18)."""
_SCANNED = (
    SCAN_SENDER,
    SCAN_MESSAGE,
    SCAN_REPORT,
    *_api(
        f"STREAM.INFO.{_BANS}",
        f"CONSUMER.CREATE.{_BANS}",
        f"CONSUMER.DELETE.{_BANS}.*",
    ),
    f"$JS.FC.{_BANS}.>",
)
"""Permissions to ask the scanning tier, to report to it, and to watch the bans."""
_CONSUMERS = (INGEST_CONSUMER, RETRY_CONSUMER, FRAMES_CONSUMER, UNSCANNED_CONSUMER)


def _of_partitions(*operations: str, behind: str = "") -> tuple[str, ...]:
    """Return operations on INGEST and on each of its further partitions; ``behind`` stands after
    the stream's name."""
    return tuple(
        f"$JS.API.{operation}.{ingest_stream(partition)}{behind}"
        for operation in operations
        for partition in range(MOST_PARTITIONS)
    )


def _anywhere(*subjects: str) -> tuple[str, ...]:
    """Return subjects of INGEST's lanes, and those that they are in its further partitions."""
    return (*subjects, *(f"{PARTITIONS_PREFIX}*.{subject}" for subject in subjects))


_LAYOUT = (
    *_api(
        *(
            f"STREAM.{operation}.{stream}"
            for operation in ("INFO", "CREATE", "UPDATE")
            for stream in _STREAMS
        )
    ),
    *_api(f"CONSUMER.CREATE.{INGEST}.>", f"CONSUMER.INFO.{INGEST}.*", "INFO", "STREAM.NAMES"),
)
_BACKLOG = (
    *_of_partitions("STREAM.INFO"),
    *_api(f"CONSUMER.INFO.*.{UNSCANNED_CONSUMER}"),
)
"""Permissions to measure what waits in all partitions."""


def _frames(role: str) -> str:
    """Return the subjects of a role's frames, of any number of messages."""
    return frame_subject(ingest_subject(role), 0).replace(".0", ".*")


def _reading(stream: str) -> tuple[str, ...]:
    """Return the permissions to read a stream through an ephemeral consumer."""
    return _api(
        f"STREAM.INFO.{stream}",
        f"CONSUMER.CREATE.{stream}",
        f"CONSUMER.MSG.NEXT.{stream}.*",
        f"CONSUMER.DELETE.{stream}.*",
    )


def _user(part: str, publish: tuple[str, ...], subscribe: tuple[str, ...] = ()) -> User:
    return User(
        part,
        tuple(dict.fromkeys((*publish, *_EVENTS, f"{HEARTBEATS_PREFIX}{part}"))),
        (*subscribe, f"{inbox_prefix(part)}.>"),
    )


USERS: Final = (
    _user(
        "smtp-in",
        (
            *_anywhere(ingest_subject("mx"), _frames("mx"), unscanned_subject("mx")),
            *_of_partitions("STREAM.INFO"),
            *_DIRECTORY,
            *_SCANNED,
            CORRESPONDENTS,
        ),
        _ADVISORIES,
    ),
    _user(
        "submission",
        (
            *_anywhere(ingest_subject("submission"), _frames("submission")),
            *_of_partitions("STREAM.INFO"),
            *_DIRECTORY,
            *_reading(_BUCKET),
        ),
        _ADVISORIES,
    ),
    replace(
        _user(
            "delivery",
            (
                *_LAYOUT,
                *_BACKLOG,
                *_of_partitions(
                    "STREAM.CREATE", "STREAM.UPDATE", "DIRECT.GET", "STREAM.MSG.DELETE"
                ),
                *_of_partitions("CONSUMER.CREATE", behind=".>"),
                *(
                    subject.replace("NAME", consumer)
                    for consumer in _CONSUMERS
                    for subject in (
                        *_api("CONSUMER.INFO.*.NAME", "CONSUMER.MSG.NEXT.*.NAME"),
                        "$JS.ACK.*.NAME.>",
                    )
                ),
                *_api(f"DIRECT.GET.{DEAD}", f"DIRECT.GET.{_BUCKET}.{_KEYS}"),
                *_anywhere(
                    ingest_subject("mx"),
                    # automatic replies of accounts
                    ingest_subject("send"),
                    _frames("send"),
                    "retry.*",
                ),
                "dead.*",
                WAKE_SUBJECT,
                RELAY_HANDED,
                MAILBOX_HINTS,
                *_MARKS,
                *_reading(_BUCKET),
            ),
            (RELAY_OFFERS, CORRESPONDENTS),
        ),
        answers=True,
    ),
    replace(
        _user(
            "relay",
            (
                *_anywhere(ingest_subject("notice"), _frames("notice")),
                RELAY_OFFERS,
                *_of_partitions("STREAM.INFO"),
                *_api(f"DIRECT.GET.{_BUCKET}.{_KEYS}"),
                *_reading(_BUCKET),
            ),
            (WAKE_SUBJECT, RELAY_HANDED, RELAY_PROBE),
        ),
        answers=True,
    ),
    replace(
        _user(
            "scan",
            (
                *_anywhere(ingest_subject("mx")),
                *_of_partitions("STREAM.INFO"),
                *_api(
                    "STREAM.NAMES",
                    f"CONSUMER.INFO.*.{UNSCANNED_CONSUMER}",
                    f"CONSUMER.MSG.NEXT.*.{UNSCANNED_CONSUMER}",
                    f"DIRECT.GET.{_BANS}.$KV.{BANS}.>",
                    f"DIRECT.GET.{_GREYLIST}.$KV.{GREYLIST}.>",
                ),
                f"$JS.ACK.*.{UNSCANNED_CONSUMER}.>",
                f"{COUNTERS_PREFIX}>",
                f"$KV.{BANS}.>",
                f"$KV.{GREYLIST}.>",
            ),
            (SCAN_SENDER, SCAN_MESSAGE, SCAN_REPORT, SCAN_STATE),
        ),
        answers=True,
    ),
    _user("pop3", (MAILBOX_HINTS, *_api(f"STREAM.INFO.{EVENTS}"))),
    _user("imap", (MAILBOX_HINTS, *_api(f"STREAM.INFO.{EVENTS}")), (MAILBOX_HINTS,)),
    _user(
        "api",
        (
            *_LAYOUT,
            *_BACKLOG,
            *_anywhere("ingest.*", FRAMES),
            _KEYS,
            WAKE_SUBJECT,
            MAILBOX_HINTS,
            SCAN_STATE,
            RELAY_PROBE,
            *_DIRECTORY,
            *_reading(DEAD),
            *_reading(EVENTS),
            *_reading(_BUCKET),
            *_api(f"DIRECT.GET.{DEAD}", f"STREAM.MSG.DELETE.{DEAD}"),
        ),
        (*_ADVISORIES, f"{HEARTBEATS_PREFIX}*"),
    ),
)
"""The parts' users, by the names that the chart gives the parts."""
PART_NAMES: Final = frozenset(user.part for user in USERS)


def users_config(passwords: dict[str, str] | None = None) -> str:
    """Return the ``authorization`` block of nats-server's configuration, the administrator first.

    ``passwords``: by user, written into the text; without them it names a variable for each,
    ``NATS_PASSWORD`` for the administrator's.
    """

    def password(user: str, variable: str) -> str:
        return f"${variable}" if passwords is None else f'"{passwords[user]}"'

    lines = ["authorization {", "  users: ["]
    lines.append(
        f'    {{user: "{ADMINISTRATOR}", password: {password(ADMINISTRATOR, "NATS_PASSWORD")}}}'
    )
    for user in USERS:
        lines += [
            "    {",
            f'      user: "{user.part}"',
            f"      password: {password(user.part, user.variable)}",
            "      permissions: {",
            *_subjects("publish", user.publish),
            *_subjects("subscribe", user.subscribe),
            *(['        allow_responses: {max: 1, expires: "1m"}'] if user.answers else []),
            "      }",
            "    }",
        ]
    return "\n".join([*lines, "  ]", "}"]) + "\n"


def _subjects(what: str, subjects: tuple[str, ...]) -> list[str]:
    return [
        f"        {what}: {{allow: [",
        *(f'          "{subject}"' for subject in subjects),
        "        ]}",
    ]
