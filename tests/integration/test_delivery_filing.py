"""Filing by delivery: INBOX, Junk, quarantine and forwards, by verdict and policy, once and all or
none."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.correspondents import NatsCorrespondents, NatsCorrespondentsServer
from posthorn.model.envelope import Envelope
from posthorn.model.events import DELIVERED, FILED, QUARANTINED, QUEUED, SCANNED
from posthorn.model.verdict import Rule, Verdict
from posthorn.model.withheld import decode_withheld
from posthorn.ports.errors import Unavailable
from posthorn.runtime.settings import NatsSettings
from posthorn.wire.auth.results import Authentication, Dmarc, Outcome
from posthorn.wire.message.header import Summary
from posthorn_delivery.correspondents import StoredCorrespondents
from posthorn_local.embedded import Nats
from tests.support.delivery_env import DeliveryEnv, delivery_env

BODY = b"Subject: hello\r\n\r\nworld\r\n"


@pytest.fixture
async def env(nats: Nats, database_url: str, tmp_path: Path) -> Any:
    async with delivery_env(nats, database_url, tmp_path) as opened:
        yield opened


def scored(points: float, *, virus: str = "", author: str = "") -> Verdict:
    """Return a verdict of so many points; ``author``: the domain that is shown to be the author's."""
    dmarc = Dmarc(Outcome.PASS, domain=author) if author else Dmarc()
    return Verdict(
        time.time(),
        Authentication(dmarc=dmarc),
        rules=(Rule("TEST_RULE", points, "a detail"),),
        virus=virus,
    )


async def boxes(env: DeliveryEnv, account: int) -> dict[int, int]:
    """Return the number of messages in each mailbox of the account."""
    query = "SELECT mailbox_id, count(*) FROM mailbox_entries WHERE account_id = $1 GROUP BY 1"
    return dict(await env.seed.rows(query, account))


async def withheld(env: DeliveryEnv, message: UUID) -> list[tuple[Any, ...]]:
    query = "SELECT recipient, account_id, reason FROM quarantine WHERE message_id = $1 ORDER BY recipient, account_id"
    return await env.seed.rows(query, message)


async def sent(env: DeliveryEnv, *to: str, **facts: Any) -> Envelope:
    envelope = await env.send(BODY, *to, **facts)
    await env.deliver(1)
    return envelope


async def test_spam_is_not_forwarded_for_an_account(env: DeliveryEnv) -> None:
    (account,) = await env.seed.accounts(1)
    name = "user0@example.test"
    await env.seed.alias(name, "out@far.test")
    await env.seed.rows("UPDATE aliases SET keeps_copy = true")
    await env.seed.rows("UPDATE domains SET account_forwards = 1")
    await env.seed.policy(junk_score=7)
    good = await sent(env, name, verdict=scored(1))
    junk = await sent(env, name, verdict=scored(8))
    assert await boxes(env, account) == {1: 1, 2: 1}
    queued = await env.seed.rows(
        "SELECT message_id, recipient, original, reverse_path LIKE 'SRS0=%' FROM outbound_recipients"
    )
    assert queued == [(good.id, "out@far.test", name, True)]
    assert await withheld(env, junk.id) == [(name, None, "score")]


async def test_each_account_files_its_own_copy_by_its_policy(env: DeliveryEnv) -> None:
    ids = await env.seed.accounts(6)
    names = [f"user{number}@example.test" for number in range(6)]
    await env.seed.policy(junk_score=7)
    await env.seed.policy(domain="example.test", spam_action="mark")
    await env.seed.policy(account=ids[1], spam_action="junk")
    await env.seed.policy(account=ids[2], spam_action="quarantine")
    await env.seed.policy(account=ids[3], refuse_score=8)
    await env.seed.policy(account=ids[4], junk_score=9)
    await env.seed.policy(account=ids[5], block=["sender@example.org"])
    envelope = await sent(env, *names, verdict=scored(8))
    assert [await boxes(env, each) for each in ids] == [{1: 1}, {2: 1}, {}, {}, {1: 1}, {}]
    assert await withheld(env, envelope.id) == [
        (names[2], ids[2], "score"),
        (names[3], ids[3], "score"),
        (names[5], ids[5], "blocked"),
    ]
    assert await env.seed.used(ids[1]) == (len(BODY), 1)
    assert await env.seed.used(ids[2]) == (0, 0)  # no part of the quota
    assert await env.seed.value("SELECT refs FROM messages") == 6
    events = env.events.details_of(envelope.id)
    assert SCANNED not in [kind for kind, _ in events]  # the scanning tier records it
    told = {kind: [each for other, each in events if other == kind] for kind, _ in events}
    assert told[DELIVERED][0]["recipients"] == [names[0], names[1], names[4]]
    assert [(each["recipient"], each["action"]) for each in told[FILED]] == [
        (names[0], "mark"),
        (names[1], "junk"),
    ]
    assert [each["recipient"] for each in told[QUARANTINED]] == [names[2], names[3], names[5]]
    stored = await env.seed.value("SELECT verdict->>'rules' FROM messages")
    assert "TEST_RULE" in stored
    assert await env.seed.value(
        "SELECT verdict->'filed'->$1::text->>0 FROM messages", str(ids[1])
    ) == ("junk")
    await env.seed.sums_hold()


async def test_a_message_without_a_verdict_is_delivered_but_for_block_lists(
    env: DeliveryEnv,
) -> None:
    one, other = await env.seed.accounts(2)
    await env.seed.policy(account=other, block=["example.org"])
    envelope = await sent(env, "user0@example.test", "user1@example.test")
    assert (await boxes(env, one), await boxes(env, other)) == ({1: 1}, {})
    assert await withheld(env, envelope.id) == [("user1@example.test", other, "blocked")]
    given_up = await sent(
        env, "user0@example.test", verdict=Verdict(time.time(), is_complete=False, gave_up=True)
    )
    (scanned,) = [each for kind, each in env.events.details_of(given_up.id) if kind == SCANNED]
    assert (scanned["gave_up"], scanned["recipients"]) == (True, ["user0@example.test"])


async def test_a_verdict_with_characters_that_postgres_cannot_hold_stops_no_message(
    env: DeliveryEnv,
) -> None:
    (account,) = await env.seed.accounts(1)
    rule = Rule("ODD", 7.0, "a\0b\ud800c \\u0000")
    await sent(env, "user0@example.test", verdict=Verdict(time.time(), rules=(rule,)))
    assert await boxes(env, account) == {2: 1}
    detail = "SELECT verdict->'rules'->0->>2 FROM messages"
    assert "b" in await env.seed.value(detail)
    assert await env.seed.value(detail.replace("->0->>2", "->0->>0")) == "ODD"


async def test_a_virus_is_withheld_whoever_sends_it_and_spam_of_ours_is_not(
    env: DeliveryEnv,
) -> None:
    (account,) = await env.seed.accounts(1)
    own = {"role": "submission", "submitter": "user0@example.test"}
    first = await sent(env, "user0@example.test", verdict=scored(30), **own)
    second = await sent(env, "user0@example.test", verdict=scored(0, virus="Eicar"), **own)
    assert await boxes(env, account) == {1: 1}
    assert await withheld(env, first.id) == []
    assert await withheld(env, second.id) == [("user0@example.test", account, "virus")]
    await env.seed.sums_hold()


async def test_a_redelivered_message_is_filed_once(env: DeliveryEnv) -> None:
    junk, away = await env.seed.accounts(2)
    await env.seed.policy(account=away, spam_action="quarantine")
    envelope = await env.send(
        BODY, "user0@example.test", "user1@example.test", verdict=scored(8), identity=None
    )
    (delivery,) = await env.take(1)
    await env.deliverer.deliver([delivery])
    await env.deliverer.deliver([delivery])
    await env.mailboxes.deliver([])
    assert await boxes(env, junk) == {2: 1}
    assert len(await withheld(env, envelope.id)) == 1
    assert env.events.kinds(envelope.id).count(QUARANTINED) == 1
    await env.seed.sums_hold()


async def test_correspondents_reach_the_inbox_if_they_are_shown_to_be_who_they_say(
    env: DeliveryEnv,
) -> None:
    (account,) = await env.seed.accounts(1)
    me = "user0@example.test"
    await sent(env, "Bob@Friends.test", role="submission", submitter=me, reverse_path=me)
    assert await env.seed.rows(
        "SELECT account_id, address, written_at > now() - interval '25 hours' FROM correspondents"
    ) == [(account, "bob@friends.test", True)]
    bob = Summary(from_="Bob <bob@friends.test>")
    await sent(env, me, verdict=scored(8, author="friends.test"), summary=bob)
    assert (await boxes(env, account))[1] == 1
    await sent(env, me, verdict=scored(8), summary=bob)  # only claims to be Bob
    assert (await boxes(env, account))[2] == 1
    eve = Summary(from_="eve@friends.test")
    await sent(env, me, verdict=scored(8, author="friends.test"), summary=eve)
    assert (await boxes(env, account))[2] == 2


async def test_smtp_in_learns_whom_accounts_protect_and_nobody_else_does(
    env: DeliveryEnv, nats: Nats
) -> None:
    *_, unprotected = await env.seed.accounts(3)
    await env.seed.alias("team@example.test", "user0@example.test", "user1@example.test")
    for number in (1, 2):
        own = f"user{number}@example.test"
        await sent(env, "bob@friends.test", role="submission", submitter=own, reverse_path=own)
    await env.seed.policy(account=unprotected, protect_known=False)

    async def opened(part: str) -> Connection:
        settings = NatsSettings.model_validate({"nats_url": nats.url_of(part)})
        return await stack.enter_async_context(connect(settings, part, part))

    async with AsyncExitStack() as stack:
        mx, scan = await opened("smtp-in"), await opened("scan")
        asking = NatsCorrespondents(mx, seconds=5)
        with pytest.raises(Unavailable):
            await asking.is_protected("bob@friends.test", ["user1@example.test"])
        stored = StoredCorrespondents(env.mailboxes)
        server = NatsCorrespondentsServer(await opened("delivery"), stored)
        await stack.enter_async_context(server)
        for recipients, author, is_protected in (
            (["user1@example.test"], "bob@friends.test", True),
            (["user0@example.test", "team+x@example.test"], "bob@friends.test", True),
            (["user0@example.test", "team@example.test"], "bob@friends.test", True),
            (["user1@example.test"], "eve@friends.test", False),
            (["user0@example.test"], "bob@friends.test", False),
            (["user2@example.test"], "bob@friends.test", False),
            (["nobody@elsewhere.test", "not an address"], "\0", False),
        ):
            found = await asking.is_protected(author, recipients)
            assert found is is_protected, (recipients, author)
        with pytest.raises(Unavailable):  # it may not even ask
            await NatsCorrespondents(scan, seconds=0.5).is_protected("a@b.test", [])


async def test_correspondents_are_written_once_a_day_and_the_oldest_of_too_many_go(
    env: DeliveryEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posthorn.adapters.postgres.mailboxes.filing.MOST_CORRESPONDENTS", 2)
    await env.seed.accounts(1)
    own = {"role": "submission", "submitter": "user0@example.test"}
    await sent(env, "a@far.test", "b@far.test", **own)
    await env.seed.rows("UPDATE correspondents SET written_at = now()")  # midnight may be near
    before = await env.seed.rows("SELECT address, xmin::text FROM correspondents ORDER BY 1")
    await sent(env, "a@far.test", "b@far.test", **own)
    assert before == await env.seed.rows(
        "SELECT address, xmin::text FROM correspondents ORDER BY 1"
    )
    await env.seed.rows(
        "UPDATE correspondents SET written_at = now() - interval '9 days' WHERE address = 'a@far.test'"
    )
    await sent(env, "c@far.test", **own)
    assert await env.seed.rows("SELECT address FROM correspondents ORDER BY 1") == [
        ("b@far.test",),
        ("c@far.test",),
    ]


async def test_an_alias_does_not_send_spam_on_unless_its_domain_only_marks(
    env: DeliveryEnv,
) -> None:
    (account,) = await env.seed.accounts(1)
    await env.seed.domain("marking.test")
    await env.seed.policy(domain="marking.test", spam_action="mark")
    await env.seed.alias("out@example.test", "a@far.test", "b@far.test", "user0@example.test")
    await env.seed.alias("out@marking.test", "c@far.test")
    envelope = await sent(env, "out@example.test", "out@marking.test", verdict=scored(8))
    assert await boxes(env, account) == {2: 1}
    assert await withheld(env, envelope.id) == [("out@example.test", None, "score")]
    assert await env.seed.rows("SELECT recipient FROM outbound_recipients") == [("c@far.test",)]
    encoded = await env.seed.value("SELECT envelope FROM quarantine")
    kept, copies = decode_withheld(encoded)
    assert (kept.id, kept.recipients, kept.reverse_path) == (
        envelope.id,
        ("out@example.test",),
        envelope.reverse_path,
    )
    assert [(each.recipient, each.alias) for each in copies] == [
        ("a@far.test", "out@example.test"),
        ("b@far.test", "out@example.test"),
    ]
    assert all(each.reverse_path.startswith("SRS0") and each.header for each in copies)
    (queued,) = [each for kind, each in env.events.details_of(envelope.id) if kind == QUEUED]
    assert queued["recipients"] == ["out@marking.test"]
    assert env.wake_ups.count == 1
    await env.seed.sums_hold()


async def test_a_wide_alias_files_slice_by_slice_and_withholds_once(env: DeliveryEnv) -> None:
    ids = await env.seed.accounts(3)
    far = [f"x{number}@far.test" for number in range(210)]
    await env.seed.policy(account=ids[1], spam_action="quarantine")
    await env.seed.policy(account=ids[2], junk_score=20)
    await env.seed.alias("all@example.test", *far, *(f"user{n}@example.test" for n in range(3)))
    envelope = await sent(env, "all@example.test", verdict=scored(8))
    assert await env.expand() == 3
    assert [await boxes(env, each) for each in ids] == [{2: 1}, {}, {1: 1}]
    assert await withheld(env, envelope.id) == [
        ("all@example.test", ids[1], "score"),
        ("all@example.test", None, "score"),
    ]
    encoded = await env.seed.value("SELECT envelope FROM quarantine WHERE account_id IS NULL")
    assert sorted(each.recipient for each in decode_withheld(encoded)[1]) == sorted(far)
    assert (
        await env.seed.value("SELECT count(*) FROM outbound_recipients WHERE closed_at IS NULL")
        == 0
    )
    assert await env.seed.value("SELECT refs FROM messages") == 4
    kinds = env.events.kinds(envelope.id)
    assert kinds.count(FILED) == 1
    await env.seed.sums_hold()
