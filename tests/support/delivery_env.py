"""Everything delivery works with, on real servers: accounts, the stream, DEAD, a blob store, and
a deliverer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
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
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.directory.dkim_keys import PostgresDkimKeys
from posthorn.adapters.postgres.mailboxes.bayes import PostgresBayes
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.mailboxes.expansions import PostgresExpansions
from posthorn.model.envelope import Envelope
from posthorn.model.streams import RETRY_CONSUMER
from posthorn.ports.errors import Unavailable
from posthorn.ports.hand_over import HandOver
from posthorn.ports.ingest import Delivery
from posthorn.ports.segments import Segment
from posthorn.runtime.ids import new_id
from posthorn.runtime.secret_box import SecretBox
from posthorn_delivery.deliverer import Deliverer
from posthorn_delivery.expander import Expander
from posthorn_delivery.training_points import TrainingPoints
from posthorn_local.embedded import Nats
from tests.support.builders import make_envelope
from tests.support.databases import as_part, pool
from tests.support.events import CountedWakeUps, RecordedEvents
from tests.support.jetstream import nats_settings
from tests.support.polling import BUSY_SECONDS, until
from tests.support.seed import DatabaseSeed

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


class UnsteadyMailboxes(PostgresMailboxes):
    """Deliver, and say at first that they cannot tell."""

    def __init__(self, database: Database, failures: int) -> None:
        super().__init__(database)
        self._failures = failures

    async def deliver(self, segments: Sequence[Segment], over: HandOver | None = None) -> int:
        entries = await super().deliver(segments, over)
        if self._failures:
            self._failures -= 1
            raise Unavailable("postgres", "the connection broke at COMMIT")
        return entries


@dataclass
class DeliveryEnv:
    """The parts, open and ready to use."""

    seed: DatabaseSeed
    nats: Connection
    ingest: NatsIngest
    source: NatsIngestSource
    dead: NatsDeadLetters
    blobs: CountedBlobs
    mailboxes: PostgresMailboxes
    deliverer: Deliverer
    secret_box: SecretBox
    events: RecordedEvents
    wake_ups: CountedWakeUps
    expander: Expander

    async def send(
        self, body: bytes, /, *to: str, identity: UUID | None = None, **facts: Any
    ) -> Envelope:
        """Accept a message whose body rides in the record; ``facts`` are fields of the envelope."""
        sent = replace(make_envelope(body, to=to, identity=identity), **facts)
        await self.ingest.accept(sent, body)
        return sent

    async def send_large(self, body: bytes, /, *to: str, **facts: Any) -> Envelope:
        """Accept a message whose body lies in a blob of its own."""
        number = new_id()
        sent = replace(
            make_envelope(body, to=to, identity=number, blob=f"bodies/{number}"), **facts
        )
        await FileBlobs.put(self.blobs, f"bodies/{number}", [body])
        await self.ingest.accept(sent, None)
        return sent

    async def take(self, number: int) -> list[Delivery]:
        """Take exactly so many messages off the stream."""
        taken: list[Delivery] = []
        async with asyncio.timeout(BUSY_SECONDS):
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
                await self.deliverer.deliver(
                    await asyncio.wait_for(source.take(1, 1), BUSY_SECONDS)
                )

    async def expand(self) -> int:
        """Expand all that is due. Return the number of slices."""
        slices = 0
        while await self.expander.expand_once() is not None:
            slices += 1
        return slices

    async def left(self) -> int:
        """Return the number of messages on INGEST."""
        return (await self.source.backlog()).messages

    async def settled(self, timeout: float = BUSY_SECONDS) -> None:
        """Wait until INGEST is empty."""

        async def empty() -> bool:
            return await self.left() == 0

        await until(empty, timeout, "the stream's becoming empty")

    async def bodies(self, account: int) -> list[bytes]:
        """Return the bodies in the INBOX, oldest first."""
        rows = await self.seed.rows(
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
            found.append(
                zstandard.ZstdDecompressor().decompress(stored) if encoding == "zstd" else stored
            )
        return found


@asynccontextmanager
async def delivery_env(
    nats: Nats, database_url: str, directory: Path, **settings: int
) -> AsyncIterator[DeliveryEnv]:
    """Open the parts. ``settings`` are those of NATS. Delivery has its own role in Postgres, the
    seed is written by the owner."""
    async with (
        pool(database_url) as database,
        pool(as_part(database_url, "delivery")) as deliverys,
        connect(nats_settings(nats, **settings), "test") as connection,
    ):
        blobs = CountedBlobs(directory)
        await blobs.open()
        mailboxes, dead = PostgresMailboxes(deliverys), NatsDeadLetters(connection)
        secret_box, events, wake_ups = SecretBox([SECRET_KEY]), RecordedEvents(), CountedWakeUps()
        signer = DkimSigner(PostgresDkimKeys(deliverys), secret_box)
        expander = Expander(
            PostgresExpansions(deliverys),
            rewriting=secret_box.derived("srs"),
            notifier=wake_ups,
            events=events,
        )
        try:
            async with NatsIngestSource(connection) as source:
                yield DeliveryEnv(
                    seed=DatabaseSeed(database),
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
                        frame=zstd_frame,
                        signer=signer,
                        rewriting=secret_box.derived("srs"),
                        notifier=wake_ups,
                        events=events,
                        on_expansion=expander.kick,
                        points=TrainingPoints(PostgresBayes(deliverys), blobs).points,
                    ),
                    secret_box=secret_box,
                    events=events,
                    wake_ups=wake_ups,
                    expander=expander,
                )
        finally:
            signer.close()
            blobs.close()
