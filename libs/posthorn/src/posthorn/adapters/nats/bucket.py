"""The directory bucket, as written by the publisher."""

from __future__ import annotations

from contextlib import aclosing

import structlog
from nats.aio.msg import Msg

from posthorn.adapters.nats.acks import read_ack
from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.errors import ApiError
from posthorn.adapters.nats.layout import BUCKET_PREFIX, BUCKET_STREAM
from posthorn.adapters.nats.scan import read_through
from posthorn.model.directory_entry import (
    BEHIND_KEY,
    FILLED_KEY,
    MARK_KEYS,
    Entry,
    EntryError,
    decode_entry,
    decode_key,
    encode_entry,
    encode_key,
)
from posthorn.model.unpublished import NOTHING, Unpublished, decode_unpublished, encode_unpublished
from posthorn.ports.errors import Unavailable

log = structlog.get_logger()

_WRONG_SEQUENCE = frozenset({10071, 10164})  # wrong last sequence of the subject
_GONE = {"KV-Operation": "DEL", "Nats-TTL": "24h"}  # the delete marker itself expires after a day


class NatsDirectoryBucket:
    """DirectoryBucket on a JetStream key-value bucket."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, subject: str, entry: Entry | None) -> None:
        """Raises EntryError for a subject that is neither an address nor ``@domain``."""
        key = encode_key(subject)
        if entry is None:
            await put_key(self._connection, key, b"", _GONE)
        else:
            await put_key(self._connection, key, encode_entry(entry))

    async def entries(self) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        choice = {"deliver_policy": "last_per_subject", "filter_subject": f"{BUCKET_PREFIX}>"}
        async with aclosing(read_through(self._connection, BUCKET_STREAM, choice)) as messages:
            async for message in messages:
                key = message.subject.removeprefix(BUCKET_PREFIX)
                if key in MARK_KEYS:
                    continue
                try:
                    subject = decode_key(key)
                    if is_removal(message):
                        found.pop(subject, None)
                    else:
                        found[subject] = decode_entry(message.data)
                except EntryError as error:
                    log.warning(
                        "an entry of the directory bucket cannot be decoded",
                        key=key,
                        detail=str(error),
                    )
        return found

    async def mark_filled(self) -> None:
        if not await self.is_filled():
            await put_key(self._connection, FILLED_KEY, b"{}")

    async def is_filled(self) -> bool:
        return await read_mark(self._connection) is not None

    async def behind(self) -> tuple[int, Unpublished]:
        return await read_behind(self._connection)

    async def mark_behind(self, unpublished: Unpublished, revision: int) -> bool:
        expected = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
        try:
            await put_key(self._connection, BEHIND_KEY, encode_unpublished(unpublished), expected)
        except ApiError as refusal:
            if refusal.err_code in _WRONG_SEQUENCE:
                return False
            raise
        return True


async def put_key(
    connection: Connection, key: str, value: bytes, headers: dict[str, str] | None = None
) -> None:
    """Store the value of a key. Raises Unavailable, ApiError."""
    read_ack(await connection.request(f"{BUCKET_PREFIX}{key}", value, headers), BUCKET_STREAM)


def is_removal(message: Msg) -> bool:
    """Return whether a message of the bucket's stream marks its key as deleted."""
    headers = message.headers or {}
    return headers.get("KV-Operation", "") in ("DEL", "PURGE") or "Nats-Marker-Reason" in headers


async def read_key(connection: Connection, key: str) -> Msg | None:
    """Return the newest message of a key by direct get; None when there is none. Raises
    Unavailable, also without a bucket."""
    message = await connection.request(f"$JS.API.DIRECT.GET.{BUCKET_STREAM}.{BUCKET_PREFIX}{key}")
    headers = message.headers or {}
    if "Nats-Sequence" in headers:
        return None if is_removal(message) else message
    if headers.get("Status") == "404":
        return None
    raise Unavailable("directory", "the bucket gave an invalid answer")


async def read_mark(connection: Connection) -> tuple[str, str] | None:
    """Return the id of the bucket's filling; None when the bucket was never filled. Raises
    Unavailable."""
    message = await read_key(connection, FILLED_KEY)
    if message is None:
        return None
    headers = message.headers or {}
    return headers["Nats-Sequence"], headers.get("Nats-Time-Stamp", "")


async def read_behind(connection: Connection) -> tuple[int, Unpublished]:
    """Return the mark of unpublished changes, with its revision; 0 when there is none. Raises
    Unavailable."""
    message = await read_key(connection, BEHIND_KEY)
    if message is None:
        return 0, NOTHING
    return int((message.headers or {})["Nats-Sequence"]), decode_unpublished(message.data)
