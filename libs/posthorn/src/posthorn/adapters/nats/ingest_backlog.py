"""What waits on INGEST and on DEAD, counted in messages: a frame counts as those that it holds.

All partitions count; if one cannot be asked there is no answer, since what waits decides which
blobs are removed (ADR 10).
"""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Any

from nats.aio.msg import Msg

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.layout import parse_time
from posthorn.adapters.nats.partitions import list_partitions
from posthorn.model.streams import (
    DEAD,
    FRAMES,
    in_partition,
    ingest_stream,
    is_retry,
    messages_under,
)
from posthorn.ports.errors import Unavailable
from posthorn.ports.ingest import Backlog, PartitionBacklog


async def measure_backlog(connection: Connection, *, reads_ingest: bool = True) -> Backlog:
    """Return the backlog of both streams. Raises Unavailable.

    ``reads_ingest``: whether this part may read messages of INGEST; otherwise ``oldest_first`` is
    None while the retry lane holds any.
    """
    partitions = await list_partitions(connection)
    dead_info, *found = await asyncio.gather(
        connection.api(f"STREAM.INFO.{DEAD}"),
        *(_partition(connection, partition, reads_ingest) for partition in partitions),
    )
    dead = dead_info["state"]
    return Backlog(
        messages=sum(each.messages for each in found),
        octets=sum(each.octets for each in found),
        oldest=_earliest(*(each.oldest for each in found)),
        dead=dead["messages"],
        oldest_dead=_oldest(dead),
        retrying=sum(each.retrying for each in found),
        oldest_first=_earliest(*(each.oldest_first for each in found)),
        partitions=dict(zip(partitions, found, strict=True)),
    )


async def _partition(
    connection: Connection, partition: int, reads_ingest: bool
) -> PartitionBacklog:
    stream = ingest_stream(partition)
    info = await connection.api(f"STREAM.INFO.{stream}", {"subjects_filter": ">"})
    state = info["state"]
    by_subject: dict[str, int] = state.get("subjects") or {}
    retrying = sum(number for subject, number in by_subject.items() if is_retry(subject))
    first = oldest = _oldest(state)
    if retrying:
        first = await _oldest_first(connection, partition) if reads_ingest else None
    return PartitionBacklog(
        messages=sum(number * messages_under(subject) for subject, number in by_subject.items()),
        octets=state["bytes"],
        oldest=oldest,
        retrying=retrying,
        oldest_first=first,
    )


async def next_on(
    connection: Connection, subjects: str, sequence: int, partition: int = 0
) -> Msg | None:
    """Return the first message on a partition of INGEST under ``subjects`` (as they are called on
    the first one) from that sequence on. Raises Unavailable."""
    wish = json.dumps({"seq": sequence, "next_by_subj": in_partition(subjects, partition)})
    stream = ingest_stream(partition)
    message = await connection.request(f"$JS.API.DIRECT.GET.{stream}", wish.encode())
    headers = message.headers or {}
    if headers.get("Nats-Sequence"):
        return message
    if headers.get("Status") == "404":
        return None
    raise Unavailable("nats", f"{stream} gave an invalid answer")


async def _oldest_first(connection: Connection, partition: int) -> datetime | None:
    first = [await next_on(connection, subjects, 1, partition) for subjects in ("ingest.*", FRAMES)]
    return _earliest(
        *(parse_time((each.headers or {})["Nats-Time-Stamp"]) for each in first if each is not None)
    )


def _oldest(state: dict[str, Any]) -> datetime | None:
    return datetime.fromisoformat(state["first_ts"]) if state["messages"] else None


def _earliest(*moments: datetime | None) -> datetime | None:
    return min((each for each in moments if each is not None), default=None)
