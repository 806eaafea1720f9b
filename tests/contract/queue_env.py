"""Outbound messages in the queue, and relays that claim them, for the contract tests of the
queue ports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.queue.claimed import SHOWN_STATE
from posthorn.adapters.postgres.queue.enqueue import QueuePolicy
from posthorn.adapters.postgres.queue.queue import PostgresQueue
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.outbound import QueueState, RecipientDsn
from posthorn.ports.queue import Claim, Due, Job, Outcome
from posthorn.runtime.ids import new_id
from tests.support.builders import make_message, make_outbound, make_segment
from tests.support.seed import DatabaseSeed


class QueueEnv(DatabaseSeed):
    """A seeded database with a queue. ``relays`` is the database in the role of the relay."""

    def __init__(self, database: Database, relays: Database | None = None) -> None:
        super().__init__(database)
        self.queue = PostgresQueue(relays or database)
        self._mailboxes = PostgresMailboxes(database, QueuePolicy(1000, 100))

    async def send(
        self,
        *recipients: str,
        sender: str = "sender@example.test",
        dsn: RecipientDsn | None = None,
        accounts: Sequence[int] = (),
        tenant: UUID | None = DEFAULT_TENANT,
        **envelope: Any,
    ) -> UUID:
        """Enter one message; return its id."""
        made = make_message(accounts, reverse_path=sender)
        outbound = tuple(
            make_outbound(each, sender, dsn=dsn or RecipientDsn()) for each in recipients
        )
        made = replace(
            made, outbound=outbound, tenant=tenant, envelope=replace(made.envelope, **envelope)
        )
        await self._mailboxes.deliver([make_segment([made])])
        return made.envelope.id

    async def relay(self) -> UUID:
        """Return the id of a live relay."""
        relay = new_id()
        assert await self.queue.heartbeat(relay)
        return relay

    async def claim(
        self,
        relay: UUID,
        to: str = "far.test",
        slot: UUID | None = None,
        *,
        limit: int = 100,
        connections: int = 20,
    ) -> Claim:
        return await self.queue.claim(relay, Due(to, None), slot, connections, None, limit)

    async def jobs(self, relay: UUID, to: str = "far.test", *, limit: int = 100) -> list[Job]:
        """Claim, and free the slot."""
        claim = await self.claim(relay, to, limit=limit)
        if claim.slot:
            await self.queue.free_slot(relay, claim.slot)
        return list(claim.jobs)

    async def end(
        self, relay: UUID, jobs: Sequence[Job], state: QueueState, **outcome: Any
    ) -> set[int]:
        """Record the same outcome for all."""
        return await self.queue.record(relay, [Outcome(job.id, state, **outcome) for job in jobs])

    async def states(self) -> list[tuple[str, str]]:
        return [
            (str(a), str(b))
            for a, b in await self.rows(
                f"SELECT recipient, {SHOWN_STATE.format('r')} FROM outbound_recipients r ORDER BY id"
            )
        ]

    async def dies(self, relay: UUID) -> None:
        """The relay has been silent for too long."""
        await self.rows(
            "UPDATE relays SET alive_until = now() - interval '1 second' WHERE id = $1", relay
        )

    async def ages(self, seconds: float) -> None:
        """Everything in the queue is so much older."""
        await self.rows(
            "UPDATE outbound_recipients SET created_at = created_at - s, due_at = due_at - s, overdue_at = overdue_at - s,"
            " expires_at = expires_at - s, closed_at = closed_at - s FROM (SELECT make_interval(secs => $1) AS s) AS older",
            seconds,
        )

    async def due_names(self, limit: int = 100) -> list[str]:
        return [due.destination for due in await self.queue.due(limit)]
