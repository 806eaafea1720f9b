"""Backup and restore of a JetStream stream over its API, as ``nats stream backup`` and ``nats
stream restore`` do it.

The server writes a consistent copy of a stream, its consumers included, while the stream goes on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import nats

_CHUNK = 128 * 1024
_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class StreamBackup:
    """What is needed to have the stream again."""

    name: str
    config: dict[str, Any]
    state: dict[str, Any]
    chunks: tuple[bytes, ...]


async def names(url: str) -> list[str]:
    """Return the names of all streams."""
    client = await nats.connect(url)
    try:
        found: list[str] = (await _ask(client, "STREAM.NAMES", {}))["streams"]
        return sorted(found)
    finally:
        await client.close()


async def back_up(url: str, name: str) -> StreamBackup:
    """Copy a stream."""
    client = await nats.connect(url)
    try:
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox)
        head = await _ask(
            client, f"STREAM.SNAPSHOT.{name}", {"deliver_subject": inbox, "chunk_size": _CHUNK}
        )
        chunks: list[bytes] = []
        while (message := await subscription.next_msg(_SECONDS)).data:
            chunks.append(message.data)
            if message.reply:
                await client.publish(message.reply)  # the server sends so much ahead, and no more
        return StreamBackup(name, head["config"], head["state"], tuple(chunks))
    finally:
        await client.close()


async def restore(url: str, backup: StreamBackup) -> int:
    """Make the stream as it was. Return the number of its messages. It must not be there yet."""
    client = await nats.connect(url)
    try:
        wanted = {"config": backup.config, "state": backup.state}
        subject = (await _ask(client, f"STREAM.RESTORE.{backup.name}", wanted))["deliver_subject"]
        for chunk in backup.chunks:
            await client.request(subject, chunk, timeout=_SECONDS)
        answer = json.loads((await client.request(subject, b"", timeout=_SECONDS)).data)
        assert "error" not in answer, answer
        messages: int = answer["state"]["messages"]
        return messages
    finally:
        await client.close()


async def _ask(client: Any, subject: str, document: dict[str, Any]) -> dict[str, Any]:
    answer = await client.request(
        f"$JS.API.{subject}", json.dumps(document).encode(), timeout=_SECONDS
    )
    found: dict[str, Any] = json.loads(answer.data)
    assert "error" not in found, found
    return found
