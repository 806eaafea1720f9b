"""What one NATS stream and one Postgres can take, from load generators that do not go through
smtp-in or delivery."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import nats
import psutil
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from bench.fleet import cpu_seconds
from bench.load import MESSAGE
from bench.system import System
from posthorn.adapters.postgres.database import connect
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.model.blob_range import BlobRange
from posthorn.model.envelope import Body, Envelope
from posthorn.model.frame import encode_frame
from posthorn.ports.segments import Segment, SegmentMessage
from posthorn.runtime.ids import new_id
from posthorn.runtime.settings import PostgresSettings
from posthorn.wire.message.header import Summary
from posthorn_local.embedded import Nats

FRAMES = (1, 8, 32)
"""Messages in a stream message."""
STREAMS = (1, 2, 4)
"""Streams among which the same load is divided."""
BATCHES = (1, 16, 64)
"""Messages in a transaction."""
IN_FLIGHT = 32
"""Publishes without an answer, over all streams."""
TRANSACTIONS_AT_ONCE = 4
_KEPT_BYTES = 256 * 1024**2


def client_share(cpu_seconds: float, took: float) -> float:
    """Return the load generator's part of all cores."""
    return cpu_seconds / took / (os.cpu_count() or 1)


def nats_ceiling(directory: Path, seconds: float) -> list[dict[str, Any]]:
    """Publish to a server of its own that syncs every write: frames of several sizes to one
    stream, then the middle one to several."""
    server = Nats(directory)
    server.start()
    assert server.process
    pid = server.process.pid
    try:
        steps = [(1, frame) for frame in FRAMES] + [(n, FRAMES[1]) for n in STREAMS[1:]]
        return [asyncio.run(_publish(server.url, pid, *step, seconds)) for step in steps]
    finally:
        server.stop()


async def _publish(url: str, pid: int, streams: int, frame: int, seconds: float) -> dict[str, Any]:
    client = await nats.connect(url)
    jetstream = client.jetstream()
    names = [f"BENCH{number}" for number in range(streams)]
    for name in names:
        await jetstream.add_stream(
            StreamConfig(
                name=name,
                subjects=[f"bench.{name}"],
                retention=RetentionPolicy.LIMITS,
                storage=StorageType.FILE,
                discard=DiscardPolicy.OLD,
                max_bytes=_KEPT_BYTES,
            )
        )
    payload = encode_frame([os.urandom(MESSAGE // 2).hex().encode()] * frame)
    stored = 0
    until = time.monotonic() + seconds

    async def publisher(number: int) -> None:
        nonlocal stored
        name = names[number % streams]
        while time.monotonic() < until:
            await jetstream.publish(f"bench.{name}", payload, timeout=30)
            stored += 1

    server, own, began = cpu_seconds(pid), time.process_time(), time.monotonic()
    await asyncio.gather(*(publisher(number) for number in range(IN_FLIGHT)))
    took = time.monotonic() - began
    used = cpu_seconds(pid) - server
    share = client_share(time.process_time() - own, took)
    for name in names:
        await jetstream.delete_stream(name)
    await client.close()
    return {
        "streams": streams,
        "messages_per_stream_message": frame,
        "stream_messages_per_s": stored / took,
        "messages_per_s": stored * frame / took,
        "bytes_per_s": stored * len(payload) / took,
        "server_cpu_ms_per_stream_message": 1000 * used / max(stored, 1),
        "server_cores": used / took,
        "client_share_of_cores": share,
    }


def postgres_ceiling(system: System, recipient: str, seconds: float) -> list[dict[str, Any]]:
    """Write deliveries as delivery does, in transactions of several sizes."""
    parts = system.parts()
    url = psutil.Process(parts["delivery"]).environ()["POSTHORN_DATABASE_URL"]
    return [
        asyncio.run(_deliver(url, parts["postgres"], recipient, batch, seconds))
        for batch in BATCHES
    ]


async def _deliver(
    url: str, pid: int, recipient: str, batch: int, seconds: float
) -> dict[str, Any]:
    settings = PostgresSettings.model_validate({"database_url": url})
    probe = await asyncpg.connect(url)
    account = await probe.fetchval("SELECT id FROM accounts WHERE address = $1", recipient)
    async with connect(settings, by_key=True) as database:
        mailboxes = PostgresMailboxes(database)
        await mailboxes.deliver([_segment(account, recipient, batch)])
        before = await _counters(probe)
        commits = 0
        until = time.monotonic() + seconds

        async def writer() -> None:
            nonlocal commits
            while time.monotonic() < until:
                await mailboxes.deliver([_segment(account, recipient, batch)])
                commits += 1

        server, own, began = cpu_seconds(pid), time.process_time(), time.monotonic()
        await asyncio.gather(*(writer() for _ in range(TRANSACTIONS_AT_ONCE)))
        took = time.monotonic() - began
        used = cpu_seconds(pid) - server
        share = client_share(time.process_time() - own, took)
    after = await _counters(probe)
    await probe.close()
    messages = commits * batch
    wal, stored = (after[n] - before[n] for n in range(2))
    return {
        "messages_per_transaction": batch,
        "deliveries_per_s": messages / took,
        "commits_per_s": commits / took,
        "wal_bytes_per_s": wal / took,
        "wal_bytes_per_message": wal / messages,
        "stored_bytes_per_message": stored / messages,
        "server_cpu_ms_per_message": 1000 * used / messages,
        "server_cores": used / took,
        "client_share_of_cores": share,
    }


async def _counters(connection: asyncpg.Connection[asyncpg.Record]) -> tuple[int, int]:
    row = await connection.fetchrow(
        "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, pg_database_size(current_database())"
    )
    assert row is not None
    return int(row[0]), int(row[1])


def _segment(account: int, recipient: str, messages: int) -> Segment:
    made = []
    for number in range(messages):
        identity: UUID = new_id()
        envelope = Envelope(
            id=identity,
            received_at=time.time(),
            reverse_path="sender@bench.example.net",
            recipients=(recipient,),
            body=Body(
                size=MESSAGE, sha256=hashlib.sha256(identity.bytes).digest(), has_dot_lines=False
            ),
            summary=Summary(
                subject="Figures of the quarter",
                from_="sender@bench.example.net",
                date="Mon, 23 Nov 2026 09:00:00 +0000",
                message_id=f"<{identity}@bench.example.net>",
            ),
        )
        made.append(SegmentMessage(envelope, BlobRange(number * MESSAGE, MESSAGE), (account,)))
    segment = new_id()
    return Segment(segment, f"segments/{segment}", messages * MESSAGE, tuple(made))
