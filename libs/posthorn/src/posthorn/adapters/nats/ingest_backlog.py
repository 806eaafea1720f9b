"""What waits on INGEST and on DEAD, counted in messages: a frame counts as those that it holds."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from nats.aio.msg import Msg

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.layout import parse_time
from posthorn.model.streams import DEAD, FRAMES, INGEST, is_retry, messages_under
from posthorn.ports.errors import Unavailable
from posthorn.ports.ingest import Backlog


async def measure_backlog(connection: Connection) -> Backlog:
    """Return the backlog of both streams. Raises Unavailable."""
    ingest = (await connection.api(f"STREAM.INFO.{INGEST}", {"subjects_filter": ">"}))["state"]
    dead = (await connection.api(f"STREAM.INFO.{DEAD}"))["state"]
    by_subject: dict[str, int] = ingest.get("subjects") or {}
    retrying = sum(number for subject, number in by_subject.items() if is_retry(subject))
    oldest = _oldest(ingest)
    return Backlog(
        messages=sum(number * messages_under(subject) for subject, number in by_subject.items()),
        octets=ingest["bytes"],
        oldest=oldest,
        dead=dead["messages"],
        oldest_dead=_oldest(dead),
        retrying=retrying,
        oldest_first=await _oldest_first(connection) if retrying else oldest,
    )


async def next_on(connection: Connection, subjects: str, sequence: int) -> Msg | None:
    """Return the first message on INGEST under ``subjects`` from that sequence on. Raises
    Unavailable."""
    wish = json.dumps({"seq": sequence, "next_by_subj": subjects}).encode()
    message = await connection.request(f"$JS.API.DIRECT.GET.{INGEST}", wish)
    headers = message.headers or {}
    if headers.get("Nats-Sequence"):
        return message
    if headers.get("Status") == "404":
        return None
    raise Unavailable("nats", f"{INGEST} gave an invalid answer")


async def _oldest_first(connection: Connection) -> datetime | None:
    first = [await next_on(connection, subjects, 1) for subjects in ("ingest.*", FRAMES)]
    return min(
        (parse_time((each.headers or {})["Nats-Time-Stamp"]) for each in first if each is not None),
        default=None,
    )


def _oldest(state: dict[str, Any]) -> datetime | None:
    return datetime.fromisoformat(state["first_ts"]) if state["messages"] else None
