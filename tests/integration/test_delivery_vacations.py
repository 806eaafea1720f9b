"""Automatic replies of accounts (RFC 3834), by delivery, over INGEST and to the outbound queue."""

from __future__ import annotations

from typing import Any

import pytest

from posthorn.adapters.postgres.directory.vacations import (
    PostgresVacationReplies,
    PostgresVacations,
)
from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle
from posthorn.model.envelope import Envelope, Record
from posthorn.ports.errors import Unavailable
from posthorn.ports.vacations import Vacation
from posthorn.runtime.ids import new_id
from posthorn_delivery.deliverer import Deliverer
from posthorn_delivery.vacations import VacationReplier
from tests.support.delivery_env import DeliveryEnv

ALICE = "alice@example.test"
BODY = b"To: <alice@example.test>\r\nMessage-ID: <m@b.test>\r\nSubject: hello\r\n\r\nworld\r\n"
AWAY = Vacation(enabled=True, subject="Away", text="Back on Monday.")


class Away:
    """The person is away; so is INGEST, for a while."""

    def __init__(self, env: DeliveryEnv) -> None:
        self.env = env
        self.failures = 0
        self.replies: list[Record] = []
        database = env.mailboxes._database
        self.replier = VacationReplier(
            PostgresVacationReplies(database),
            self,  # type: ignore[arg-type]
            env.blobs,
            PostgresThrottle(database),
            new_id=new_id,
        )
        self.deliverer = Deliverer(
            *(env.mailboxes, env.blobs, env.dead), new_id=new_id, on_delivered=self.replier.note
        )
        self.vacations = PostgresVacations(env.seed.database)

    async def accept(self, envelope: Envelope, body: bytes | None) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("nats", "away")
        self.replies.append(Record(envelope, body))

    async def sent(self, body: bytes = BODY, to: str = ALICE, **facts: Any) -> int:
        """Deliver a message; return the number of replies."""
        await self.env.send(body, to, **{"reverse_path": "Bob@b.test", **facts})
        return await self._replied()

    async def sent_large(self) -> int:
        await self.env.send_large(BODY + b"x" * 70_000, ALICE, reverse_path="large@b.test")
        return await self._replied()

    async def _replied(self) -> int:
        self.replies.clear()
        await self.replier.look()
        await self.deliverer.deliver(await self.env.take(1))
        await self.replier.reply()
        return len(self.replies)


@pytest.fixture
async def away(env: DeliveryEnv) -> Away:
    await env.seed.domain("example.test")
    await env.seed.account(ALICE)
    made = Away(env)
    await made.vacations.put(None, ALICE, AWAY)
    return made


async def test_each_sender_gets_one_reply_in_seven_days(env: DeliveryEnv, away: Away) -> None:
    assert await away.sent() == 1
    ((envelope, body),) = [(each.envelope, each.body) for each in away.replies]
    assert (envelope.reverse_path, envelope.recipients) == ("", ("Bob@b.test",))
    assert (envelope.role, envelope.signer, envelope.submitter) == ("send", "example.test", ALICE)
    assert body is not None
    for field in (
        b"From: alice@example.test\r\n",
        b"To: Bob@b.test\r\n",
        b"Subject: Away\r\n",
        b"In-Reply-To: <m@b.test>\r\n",
        b"Auto-Submitted: auto-replied (vacation)\r\n",
    ):
        assert field in body
    assert body.endswith(b"\r\n\r\nBack on Monday.\r\n")
    assert await away.sent() == 0
    assert await away.sent(reverse_path="bob@B.TEST") == 0
    assert await away.sent(reverse_path="carol@b.test") == 1
    assert await away.sent_large() == 1
    await env.seed.rows("UPDATE vacation_replies SET replied_at = now() - interval '7 days 1 hour'")
    assert await away.sent() == 1
    await away.vacations.put(None, ALICE, AWAY)
    assert await away.sent() == 0, "nothing has changed"
    await away.vacations.put(None, ALICE, Vacation(True, "Away", "Until Tuesday."))
    assert await away.sent() == 1
    # the reply is a message like any other, and is queued for its recipient
    (reply,) = away.replies
    assert reply.body is not None
    await env.ingest.accept(reply.envelope, reply.body)
    await away.deliverer.deliver(await env.take(1))
    rows = await env.seed.rows("SELECT recipient FROM outbound_recipients")
    assert rows == [("Bob@b.test",)]


async def test_who_gets_none(env: DeliveryEnv, away: Away) -> None:
    await env.seed.account("bob@example.test")
    await env.seed.rows(
        "INSERT INTO aliases (domain_id, address, targets)"
        " SELECT id, 'team@example.test', '{alice@example.test,bob@example.test}'::text[] FROM domains UNION ALL"
        " SELECT id, 'sales@example.test', '{alice@example.test}'::text[] FROM domains"
    )
    assert await away.sent(reverse_path="") == 0
    assert await away.sent(role="notice", reverse_path="") == 0
    assert await away.sent(reverse_path="noreply@b.test") == 0
    assert await away.sent(b"List-Id: <l.b.test>\r\n" + BODY) == 0
    assert await away.sent(b"Auto-Submitted: auto-replied\r\n" + BODY) == 0
    assert await away.sent(BODY.replace(b"alice@", b"other@")) == 0
    assert await away.sent(BODY.replace(b"alice@", b"team@"), "team@example.test") == 0
    assert await away.sent(to="bob@example.test") == 0, "bob is here"
    assert await away.sent(reverse_path=ALICE) == 0
    for change in (
        "UPDATE vacations SET starts_at = now() + interval '1 hour'",
        "UPDATE vacations SET starts_at = NULL, ends_at = now()",
        "UPDATE vacations SET ends_at = NULL, enabled = false",
        "UPDATE vacations SET enabled = true",
    ):
        await env.seed.rows(change)
        await env.seed.rows(
            "UPDATE accounts SET state = 'receive-only' WHERE $1::boolean", "true" in change
        )
        assert await away.sent() == 0, change
    await env.seed.rows("UPDATE accounts SET state = 'active'")
    assert await away.sent(BODY.replace(b"alice@", b"sales@"), "sales@example.test") == 1


async def test_a_reply_that_cannot_be_stored_is_sent_later(env: DeliveryEnv, away: Away) -> None:
    away.failures = 1
    with pytest.raises(Unavailable):
        await away.sent()
    assert await env.seed.rows("SELECT FROM vacation_replies") == []
    await away.replier.reply()
    assert len(away.replies) == 1
    assert len(await env.seed.rows("SELECT FROM vacation_replies")) == 1


async def test_replies_to_one_domain_are_limited(env: DeliveryEnv, away: Away) -> None:
    (tenant,) = await env.seed.rows("SELECT id FROM tenants")
    for number, key in enumerate(("c.test", f"{tenant[0]} d.test")):
        await env.seed.rows(
            "INSERT INTO throttles (key, full_at) VALUES ($1, now() + interval '1 hour')",
            f"auto-replies-domain:{key}",
        )
        assert await away.sent(reverse_path=f"x@{key[-6:]}") == 0
        assert await away.sent(reverse_path=f"x{number}@e.test") == 1
    assert await away.sent() == 1


@pytest.mark.parametrize("table", ["accounts", "domains", "tenants"])
async def test_replies_keep_to_what_may_be_sent(env: DeliveryEnv, away: Away, table: str) -> None:
    await env.seed.rows(f"UPDATE {table} SET max_messages_per_hour = 2")
    done = [await away.sent(reverse_path=f"x{number}@{number}.test") for number in range(4)]
    assert done == [1, 1, 0, 0]
