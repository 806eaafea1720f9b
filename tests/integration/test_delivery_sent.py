"""Copies of what accounts submit, in their Sent mailbox."""

from __future__ import annotations

from typing import Any

from posthorn.ports.mailbox_view import SEEN
from posthorn.runtime.ids import new_id
from posthorn_delivery.deliverer import Deliverer
from tests.support.delivery_env import DeliveryEnv, UnsteadyMailboxes

BODY = b"Subject: hello\r\n\r\nworld\r\n"
MAILBOXES = """
    SELECT e.mailbox_id, e.flags, count(*) FROM mailbox_entries e WHERE e.account_id = $1 GROUP BY 1, 2 ORDER BY 1, 2
"""


async def test_what_is_submitted_is_saved_once_if_the_account_wants_it(env: DeliveryEnv) -> None:
    await env.seed.domain("example.test")
    alice, bob = [await env.seed.account(f"{name}@example.test") for name in ("alice", "bob")]
    await env.seed.rows("UPDATE accounts SET save_sent = true WHERE id = $1", alice)
    mine: dict[str, Any] = {"role": "submission", "submitter": "alice@example.test"}
    # to itself and to others, to another host alone, of somebody else, and of a stranger in her name
    await env.send(BODY, "alice@example.test", "bob@example.test", **mine)
    await env.send(BODY, "carol@elsewhere.test", **mine)
    await env.send(BODY, "bob@example.test", role="submission", submitter="bob@example.test")
    await env.send(BODY, "bob@example.test", reverse_path="alice@example.test")
    # the first commit is in doubt
    deliverer = Deliverer(
        UnsteadyMailboxes(env.seed.database, 1), env.blobs, env.dead, new_id=new_id
    )
    await deliverer.deliver(await env.take(4))
    assert await env.seed.rows(MAILBOXES, alice) == [(1, 0, 1), (3, SEEN, 2)]
    assert await env.seed.rows(MAILBOXES, bob) == [(1, 0, 3)]
    assert await env.seed.rows(
        "SELECT messages, unseen FROM mailboxes WHERE account_id = $1 AND mailbox_id IN (1, 3) ORDER BY mailbox_id",
        alice,
    ) == [(1, 1), (2, 0)]
    await env.settled()
    await env.seed.sums_hold()


async def test_a_copy_is_kept_though_the_recipient_is_gone(env: DeliveryEnv) -> None:
    await env.seed.domain("example.test")
    alice = await env.seed.account("alice@example.test")
    await env.seed.rows("UPDATE accounts SET save_sent = true")
    await env.send(
        BODY,
        "gone@example.test",
        role="submission",
        submitter="alice@example.test",
        reverse_path="",
    )
    await env.deliver(1)
    assert (3, SEEN, 1) in await env.seed.rows(MAILBOXES, alice)
    await env.settled()
    await env.seed.sums_hold()
