"""Everything delivery works with, on real servers: a town of accounts, the stream, DEAD, a store, and a deliverer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import zstandard

from posthorn.adapters.blobs.compression import zstd_frame
from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.dkim import DkimSigner
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.dead_letters import NatsDeadLetters
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.ingest_consumer import NatsDelivery, NatsIngestSource
from posthorn.adapters.postgres.directory.dkim_keys import PostgresDkimKeys
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.mailboxes.expansions import PostgresExpansions
from posthorn.model.envelope import Envelope
from posthorn.model.events import Event
from posthorn.model.streams import RETRY_CONSUMER
from posthorn.runtime.ids import new_id
from posthorn.runtime.secret_box import SecretBox
from posthorn_delivery.deliverer import Deliverer
from posthorn_delivery.expander import Expander
from posthorn_local.embedded import Nats
from tests.contract.town import Town, pool
from tests.support.databases import as_part
from tests.support.jetstream import letter, nats_settings, until

SECRET_KEY = b"s" * 32


class CountedBlobs(FileBlobs):
    """Blobs that know how often they were written."""

    puts = 0

    async def put(self, key: str, parts: Sequence[bytes]) -> None:
        self.puts += 1
        await super().put(key, parts)

    async def put_file(self, key: str, file: BinaryIO, size: int) -> None:
        self.puts += 1
        await super().put_file(key, file, size)


class Told:
    """What delivery says to others: events, and wake-ups of relays."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.wakes = 0

    def record(self, *events: Event) -> None:
        """Keep events."""
        self.events += events

    def notify(self, destinations: Collection[str] = ()) -> None:
        """Count a wake-up."""
        self.wakes += 1

    def of(self, message: UUID) -> list[tuple[str, dict[str, Any]]]:
        """Kind and detail of each event of a message."""
        return [(event.kind, dict(event.detail)) for event in self.events if event.message == message]


@dataclass
class Scene:
    """The parts, ready to use."""

    town: Town
    nats: Connection
    ingest: NatsIngest
    source: NatsIngestSource
    dead: NatsDeadLetters
    blobs: CountedBlobs
    mailboxes: PostgresMailboxes
    deliverer: Deliverer
    secret_box: SecretBox
    told: Told
    expander: Expander

    async def send(self, body: bytes, /, *to: str, identity: UUID | None = None, **facts: Any) -> Envelope:
        """Accept a message whose body rides in the record; ``facts`` are fields of the envelope."""
        sent = replace(letter(body, to=to, identity=identity), **facts)
        await self.ingest.accept(sent, body)
        return sent

    async def send_large(self, body: bytes, /, *to: str, **facts: Any) -> Envelope:
        """Accept a message whose body lies in a blob of its own."""
        number = new_id()
        sent = replace(letter(body, to=to, identity=number, blob=f"bodies/{number}"), **facts)
        await FileBlobs.put(self.blobs, f"bodies/{number}", [body])
        await self.ingest.accept(sent, None)
        return sent

    async def take(self, number: int) -> list[NatsDelivery]:
        """Take exactly so many messages off the stream."""
        taken: list[NatsDelivery] = []
        async with asyncio.timeout(10):
            while len(taken) < number:
                taken += await self.source.take(number - len(taken), 1 << 30)
        return taken

    async def deliver(self, number: int) -> None:
        """Take so many messages and deliver them as one batch."""
        await self.deliverer.deliver(await self.take(number))

    async def try_again(self, number: int) -> None:
        """Take so many messages off the retry lane and deliver each by itself."""
        async with NatsIngestSource(self.nats, RETRY_CONSUMER) as source:
            for _ in range(number):
                await self.deliverer.deliver(await asyncio.wait_for(source.take(1, 1), 10))

    async def expand(self) -> int:
        """Expand all that is due; gives the number of slices."""
        slices = 0
        while await self.expander.expand_once() is not None:
            slices += 1
        return slices

    async def left(self) -> int:
        """Messages on INGEST."""
        return (await self.source.backlog()).messages

    async def settled(self) -> None:
        """Wait until INGEST is empty."""

        async def empty() -> bool:
            return await self.left() == 0

        await until(empty, what="the stream's becoming empty")

    async def bodies(self, account: int) -> list[bytes]:
        """What lies in the INBOX, octet for octet, oldest first."""
        rows = await self.town.rows(
            """
            SELECT s.key, m.offset_octets, m.stored_octets, m.encoding
              FROM mailbox_entries e JOIN messages m ON m.id = e.message_id JOIN segments s ON s.id = m.segment_id
             WHERE e.account_id = $1 AND e.mailbox_id = 1 ORDER BY e.uid
            """,
            account,
        )
        found = []
        for key, offset, length, encoding in rows:
            stored = await self.blobs.read(key, offset, length)
            found.append(zstandard.ZstdDecompressor().decompress(stored) if encoding == "zstd" else stored)
        return found


@asynccontextmanager
async def scene(nats: Nats, database_url: str, directory: Path, **settings: int) -> AsyncIterator[Scene]:
    """Set the scene. ``settings`` are those of NATS. Delivery has its own role in Postgres, the town has none."""
    async with (
        pool(database_url) as database,
        pool(as_part(database_url, "delivery")) as deliverys,
        connect(nats_settings(nats, **settings), "test") as connection,
    ):
        blobs = CountedBlobs(directory)
        await blobs.open()
        mailboxes, dead = PostgresMailboxes(deliverys), NatsDeadLetters(connection)
        secret_box, told = SecretBox([SECRET_KEY]), Told()
        signer = DkimSigner(PostgresDkimKeys(deliverys), secret_box)
        expander = Expander(
            PostgresExpansions(deliverys), rewriting=secret_box.derived("srs"), notifier=told, events=told
        )
        try:
            async with NatsIngestSource(connection) as source:
                yield Scene(
                    town=Town(database),
                    nats=connection,
                    ingest=NatsIngest(connection),
                    source=source,
                    dead=dead,
                    blobs=blobs,
                    mailboxes=mailboxes,
                    deliverer=Deliverer(
                        mailboxes,
                        blobs,
                        dead,
                        new_id=new_id,
                        compress=zstd_frame,
                        signer=signer,
                        rewriting=secret_box.derived("srs"),
                        notifier=told,
                        events=told,
                        on_expansion=expander.kick,
                    ),
                    secret_box=secret_box,
                    told=told,
                    expander=expander,
                )
        finally:
            signer.close()
            blobs.close()
