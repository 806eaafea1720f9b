"""The relay on a real queue, a real store and real SMTP servers."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator, Callable, Sequence
from email.message import EmailMessage
from typing import Any, cast
from unittest.mock import AsyncMock
from uuid import UUID

import pytest

from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.queue.enqueue import QueuePolicy
from posthorn.adapters.postgres.queue.queue import PostgresQueue
from posthorn.model.outbound import Notify, Outbound, QueueState, RecipientDsn
from posthorn.ports.errors import Unavailable
from posthorn.ports.queue import Claim, Due, Outcome
from posthorn.wire.message.dsn import Action
from posthorn_local.embedded import free_port
from posthorn_relay import liveness
from posthorn_relay.maintenance import QueueMaintenance
from posthorn_relay.smtp.pool import ConnectionPool
from posthorn_relay.smtp.types import Failed, Tls
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, timers_run, until
from tests.support.relay_env import BODY, SENDER, RelayEnv
from tests.support.scripted_smtp import CLOSE, STALL, ScriptedSmtp
from tests.support.sink import Sink


@pytest.fixture
async def sink(env: RelayEnv) -> AsyncIterator[Sink]:
    """A server that knows nobody but those it does not refuse; the planner leads to it."""
    server = Sink({"nobody": "550 5.1.1 no such user", "later": "450 4.2.1 come back later"})
    server.start()
    env.planner.ports = [server.port]
    yield server
    server.stop()


async def holds(condition: Callable[[], bool], what: str = "it") -> None:
    async def asked() -> bool:
        return condition()

    await until(asked, BUSY_SECONDS, what)


async def test_a_message_is_sent_whole_but_for_the_return_path_and_forgotten_by_the_store(
    env: RelayEnv, sink: Sink
) -> None:
    async with env.relay():
        message = await env.post("Bob@sink.test")
        await env.become(message, Bob="delivered")
    (taken,) = sink.taken
    assert taken.content == BODY
    assert (taken.reverse_path, taken.recipients) == (SENDER, ("Bob@sink.test",))
    ((refs, open_),) = await env.rows(
        "SELECT refs, open FROM messages m JOIN outbound_messages o ON o.message_id = m.id WHERE m.id = $1",
        message,
    )
    assert (refs, open_) == (0, 0)
    (event,) = env.events.events
    assert event.kind == "delivered" and event.detail["recipient"] == "Bob@sink.test"
    assert event.detail["reply"] == "250 2.0.0 kept" and "127.0.0.1" in event.detail["host"]


async def test_recipients_of_a_message_share_a_transaction_and_each_has_its_own_fate(
    env: RelayEnv, sink: Sink
) -> None:
    async with env.relay(relay_retry_first_seconds=60.0, relay_retry_last_seconds=60.0):
        message = await env.post(
            *(f"{name}@sink.test" for name in ("one", "nobody", "two", "later"))
        )
        await env.become(
            message, one="delivered", two="delivered", nobody="bounced", later="deferred"
        )
        (notice,) = await env.dsns(1)
    assert [taken.recipients for taken in sink.taken] == [("one@sink.test", "two@sink.test")]
    envelope = notice.envelope
    assert (envelope.role, envelope.reverse_path, envelope.recipients) == ("notice", "", (SENDER,))
    body = notice.body or b""
    assert body.startswith(b"Return-Path: <>\r\n") and envelope.body.return_path_octets == 17
    bounce = email.message_from_bytes(body, policy=email.policy.default)
    human, status, header = bounce.iter_parts()
    assert (
        "550 5.1.1 no such user" in human.get_content()
        and "one@sink.test" not in human.get_content()
    )
    fields = cast(list[EmailMessage], status.get_payload())
    assert [one["Final-Recipient"] for one in fields[1:]] == ["rfc822;nobody@sink.test"]
    assert "Subject: hello" in header.get_content() and "Return-Path" not in header.get_content()
    assert env.events.kinds(message).count("notice") == 1


async def test_ret_says_how_much_comes_back(env: RelayEnv, sink: Sink) -> None:
    returned = {}
    async with env.relay():
        for ret in ("FULL", "HDRS", ""):
            message = await env.post(f"nobody@{ret.lower() or 'none'}.sink.test", ret=ret)
            await env.become(message, nobody="bounced")
            (notice,) = await env.dsns(1)
            bounce = email.message_from_bytes(notice.body or b"", policy=email.policy.default)
            returned[ret] = list(bounce.iter_parts())[2].get_content_type()
    header = "text/rfc822-headers"
    assert returned == {"FULL": "message/rfc822", "HDRS": header, "": header}


async def test_a_deferred_recipient_is_tried_again_until_it_is_taken(env: RelayEnv) -> None:
    async with ScriptedSmtp(
        {"RCPT": [b"451 4.3.0 not now\r\n", b"450 4.2.1 later\r\n", b"250 2.1.5 ok\r\n"]}
    ) as host:
        env.planner.ports = [host.port]
        async with env.relay():
            message = await env.post("patient@sink.test")
            await env.become(message, patient="delivered")
    assert env.events.kinds(message) == ["deferred", "deferred", "delivered"]
    ((attempts, reply),) = await env.rows("SELECT attempts, last_reply FROM outbound_recipients")
    assert attempts == 3 and reply.startswith("250")


async def test_how_sessions_are_secured_is_counted_for_reports(env: RelayEnv, sink: Sink) -> None:
    for _ in range(2):  # each relay writes what it counted when it drains
        async with env.relay():
            message = await env.post("bob@sink.test")
            await env.become(message, bob="delivered")
    query = "SELECT domain, policy_type, result_type, sessions FROM tls_outcomes"
    counted = ("sink.test", "no-policy-found", "starttls-not-supported", 2)
    assert await env.rows(query) == [counted]


async def test_trap_26_what_needs_no_tls_is_sent_past_what_waits_for_it(
    env: RelayEnv, sink: Sink
) -> None:
    env.planner.tls = Tls.VERIFIED  # and the server offers none
    waiting = [await env.post(f"n{number}@sink.test") for number in range(8)]
    free = b"TLS-Required: No\r\n" + BODY
    first = await env.post("first@sink.test", body=free)
    slow = {"relay_retry_first_seconds": 600.0, "relay_retry_last_seconds": 600.0}
    async with env.relay(**slow, relay_destination_connections=1):
        await env.become(first, first="delivered")
        await env.become(waiting[7], n7="deferred")
        failed = "SELECT failures FROM outbound_lanes WHERE closed_until > now()"

        async def is_closed() -> bool:
            return await env.rows(failed) == [(1,)]

        await until(is_closed, BUSY_SECONDS)
        # once more, when the queue gives out one at a time
        waiting += [await env.post(f"n{number}@sink.test") for number in range(8, 11)]
        second = await env.post("second@sink.test", body=free)
        await env.rows("UPDATE outbound_lanes SET closed_until = now()")
        await env.become(second, second="delivered")
        await env.become(waiting[-1], n10="deferred")
    assert sink.attempts == ["first@sink.test", "second@sink.test"]
    replies = await env.rows(
        "SELECT DISTINCT last_reply FROM outbound_recipients WHERE state <> 'delivered'"
    )
    assert replies == [("TLS is required, and the host does not offer STARTTLS",)]
    # their own sessions are in no report (RFC 8460 §3)
    query = "SELECT result_type, sessions FROM tls_outcomes"
    assert await env.rows(query) == [("starttls-not-supported", 2)]


async def test_a_hard_bounce_suppresses_the_address_and_the_next_message_fails_unsent(
    env: RelayEnv, sink: Sink
) -> None:
    async with env.relay():
        first = await env.post("nobody@sink.test")
        await env.become(first, nobody="bounced")
        second = await env.post("nobody@sink.test")
        await env.become(second, nobody="bounced")
    assert sink.attempts == ["nobody@sink.test"]
    ((address, source),) = await env.rows("SELECT address, source FROM suppressions")
    assert (address, source) == ("nobody@sink.test", "bounce")
    ((status,),) = await env.rows(
        "SELECT last_status FROM outbound_recipients WHERE message_id = $1", second
    )
    assert status == "5.7.1"


async def test_a_plain_550_bounces_and_suppresses_nobody(env: RelayEnv) -> None:
    async with ScriptedSmtp({"RCPT": b"550 we do not like you\r\n"}) as host:
        env.planner.ports = [host.port]
        async with env.relay():
            message = await env.post("bob@sink.test")
            await env.become(message, bob="bounced")
    assert await env.rows("SELECT address FROM suppressions") == []


async def test_nobody_is_told_of_the_fate_of_a_notice(env: RelayEnv, sink: Sink) -> None:
    async with env.relay():
        message = await env.post(Outbound("nobody@sink.test", "sink.test", ""), sender="")
        await env.become(message, nobody="bounced")
        other = await env.post("nobody@sink.test")
        (notice,) = await env.dsns(1)
    assert str(other) not in str(message)
    assert env.events.kinds(message) == ["bounced"] and notice.envelope.recipients == (SENDER,)


@pytest.mark.parametrize(
    ("notify", "offered", "told"),
    [(Notify.SUCCESS, False, True), (Notify.SUCCESS, True, False), (Notify.UNSAID, False, False)],
    ids=["wanted", "the remote host tells", "not wanted"],
)
async def test_success_is_told_by_whoever_knows_last(
    env: RelayEnv, notify: Notify, offered: bool, told: bool
) -> None:
    offers = b"250-x\r\n250 DSN\r\n" if offered else b"250-x\r\n250 SIZE\r\n"
    async with ScriptedSmtp({"EHLO": offers}) as host:
        env.planner.ports = [host.port]
        async with env.relay():
            message = await env.post(
                Outbound("bob@sink.test", "sink.test", SENDER, dsn=RecipientDsn(notify))
            )
            await env.become(message, bob="delivered")
            if told:
                (notice,) = await env.dsns(1)
                assert b"Action: relayed" in (notice.body or b"")
    assert ("notice" in env.events.kinds(message)) is told


async def test_a_host_that_is_down_closes_its_next_hop_and_is_tried_by_one_message(
    env: RelayEnv,
) -> None:
    env.planner.ports = [free_port(), free_port()]
    async with env.relay():
        first = await env.post("one@down.test")
        await env.become(first, one="deferred")
        ((failures, closed),) = await env.rows(
            "SELECT failures, closed_until > now() + '30 s' FROM outbound_lanes"
        )
        assert (failures, closed) == (1, True)
        second = await env.post("two@down.test")
        other = Sink()
        other.start()
        try:
            env.planner.ports = [other.port]
            third = await env.post("three@up.test")
            await env.become(third, three="delivered")
            await env.become(second, two="queued")
            assert other.attempts == ["three@up.test"]
            ((reply,),) = await env.rows(
                "SELECT last_reply FROM outbound_recipients WHERE message_id = $1", first
            )
            assert "Connection refused" in reply
            # the time is over, the host is back
            await env.rows("UPDATE outbound_lanes SET closed_until = now()")
            await env.become(second, two="delivered")
            ((failures,),) = await env.rows(
                "SELECT failures FROM outbound_lanes WHERE key = 'down.test'"
            )
            assert failures == 0
        finally:
            other.stop()


async def test_the_next_hop_is_tried_when_one_is_down_and_the_good_one_first_thereafter(
    env: RelayEnv, sink: Sink
) -> None:
    env.planner.ports = [free_port(), sink.port]
    async with env.relay():
        message = await env.post("one@sink.test")
        await env.become(message, one="delivered")
    assert await env.rows("SELECT key FROM outbound_lanes WHERE closed_until > now()") == []


async def test_a_greeting_of_554_is_no_bounce(env: RelayEnv) -> None:
    async with ScriptedSmtp({"GREETING": b"554 5.3.2 go away\r\n"}) as host:
        env.planner.ports = [host.port]
        async with env.relay():
            message = await env.post("one@sink.test")
            await env.become(message, one="deferred")
    ((status, reply),) = await env.rows("SELECT last_status, last_reply FROM outbound_recipients")
    assert status.startswith("4.") and "554 5.3.2 go away" in reply


@pytest.mark.parametrize("permanent", [True, False])
async def test_dns_decides_without_a_connection(env: RelayEnv, permanent: bool) -> None:
    status = "5.1.2" if permanent else "4.4.3"
    env.planner.failure = Failed("dns", 0, status, "the domain's answer", permanent)
    async with env.relay():
        message = await env.post("one@nowhere.test")
        await env.become(message, one="bounced" if permanent else "deferred")
    assert await env.rows("SELECT last_status FROM outbound_recipients") == [(status,)]


async def test_without_a_route_mail_waits_and_the_next_hop_stays_open(env: RelayEnv) -> None:
    env.planner.failure = Failed("connect", 0, "4.4.4", "there is no route for nowhere.test", False)
    async with env.relay():
        for name in ("one", "two"):
            message = await env.post(f"{name}@nowhere.test")
            await env.become(message, **{name: "deferred"})
    assert await env.rows("SELECT key FROM outbound_lanes WHERE closed_until > now()") == []


async def test_what_has_waited_too_long_fails_with_the_last_reply(env: RelayEnv) -> None:
    async with ScriptedSmtp({"RCPT": b"450 4.2.2 full\r\n"}) as host:
        env.planner.ports = [host.port]
        env.mailboxes = PostgresMailboxes(env.database, QueuePolicy(0.1, 0))
        async with env.relay():
            message = await env.post("late@sink.test")
            await env.become(message, late="bounced")
            (notice,) = await env.dsns(1)
    assert b"Status: 4.4.7" in (notice.body or b"") and b"Action: failed" in (notice.body or b"")


@pytest.mark.usefixtures("idle_connections_stay")
async def test_a_connection_serves_many_messages_and_one_that_was_closed_while_idle_costs_nothing(
    env: RelayEnv,
) -> None:
    async with ScriptedSmtp({"MAIL": [b"250 ok\r\n", b"250 ok\r\n", CLOSE, b"250 ok\r\n"]}) as host:
        env.planner.ports = [host.port]
        async with env.relay():
            for name in ("one", "two"):
                message = await env.post(f"{name}@sink.test")
                await env.become(message, **{name: "delivered"})
            assert host.connections == 1
            message = await env.post("three@sink.test")
            await env.become(message, three="delivered")
        assert host.connections == 2
    assert env.events.kinds(message) == ["delivered"]


async def test_a_host_that_hangs_up_at_every_mail_is_asked_once_and_left_alone(
    env: RelayEnv,
) -> None:
    async with ScriptedSmtp({"MAIL": b"421 4.3.2 busy\r\n"}) as host:
        env.planner.ports = [host.port]
        async with env.relay():
            messages = [await env.post(f"m{n}@sink.test") for n in range(3)]
            await env.become(messages[0], m0="deferred")
        assert host.connections <= 2
    assert (await env.rows("SELECT failures FROM outbound_lanes"))[0][0] >= 1


async def test_many_messages_are_shared_among_connections_within_the_limit(env: RelayEnv) -> None:
    async with ScriptedSmtp({}) as host:
        env.planner.ports = [host.port]
        messages = [await env.post(f"m{n}@sink.test") for n in range(60)]
        async with env.relay(relay_destination_connections=3):
            for number, message in enumerate(messages):
                await env.become(message, **{f"m{number}": "delivered"})
    assert 2 <= host.connections <= 3
    assert len(host.contents) == 60


async def test_a_large_message_is_streamed(env: RelayEnv, sink: Sink) -> None:
    body = BODY + b"0123456789abcde\r\n" * 40_000
    async with env.relay():
        message = await env.post("bob@sink.test", body=body)
        await env.become(message, bob="delivered")
    assert sink.taken[0].content == body


async def test_a_message_whose_octets_are_gone_waits_and_others_go_on(
    env: RelayEnv, sink: Sink
) -> None:
    lost = await env.post("lost@sink.test")
    await env.blobs.delete(f"segments/{lost}")
    async with env.relay():
        other = await env.post("other@sink.test")
        await env.become(other, other="delivered")

        async def told() -> bool:
            return bool(
                await env.rows("SELECT id FROM outbound_recipients WHERE last_status = '4.3.0'")
            )

        await until(told)
    ((state, attempts, reply, waits, lanes),) = await env.rows(
        "SELECT state, attempts, last_reply, due_at > now(), (SELECT count(*) FROM outbound_lanes WHERE failures > 0)"
        " FROM outbound_recipients WHERE state <> 'delivered'"
    )
    # a fault of ours is no attempt
    assert (state, attempts, waits, lanes) == ("queued", 0, True, 0)
    assert "could not be read" in reply and "segments" not in reply


async def test_sigterm_finishes_what_is_under_way_and_gives_back_the_rest(env: RelayEnv) -> None:
    release = asyncio.Event()
    async with ScriptedSmtp({}) as host:
        env.planner.ports = [host.port]
        messages = [await env.post(f"m{n}@sink.test") for n in range(5)]
        original = ScriptedSmtp._do

        async def held(self: ScriptedSmtp, verb: str, writer: asyncio.StreamWriter) -> bytes | None:
            if verb == "END":
                await release.wait()
            return await original(self, verb, writer)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ScriptedSmtp, "_do", held)
            async with env.relay(relay_destination_connections=1):
                await holds(lambda: bool(host.contents), "the first message's content")
                asyncio.get_running_loop().call_later(0.2, release.set)
    states = [next(iter((await env.states(message)).values())) for message in messages]
    assert states == ["delivered", "queued", "queued", "queued", "queued"]
    assert len(host.contents) == 1
    assert await env.rows("SELECT id FROM outbound_slots") == []
    assert (
        await env.rows("SELECT attempts FROM outbound_recipients WHERE state = 'queued'")
        == [(0,)] * 4
    )


async def test_sigterm_waits_for_no_host_that_has_been_given_nothing(env: RelayEnv) -> None:
    async with ScriptedSmtp({"GREETING": STALL}) as host:
        env.planner.ports = [host.port]
        async with env.relay(grace_seconds=LONG_SECONDS):
            message = await env.post("one@sink.test")
            await holds(lambda: host.connections == 1, "the connection")
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < BUSY_SECONDS
    assert list((await env.states(message)).values()) == ["queued"]


@pytest.mark.usefixtures("idle_connections_stay")
async def test_a_host_that_takes_no_further_connection_is_not_down(env: RelayEnv) -> None:
    busy = b"421 4.7.0 too many connections\r\n"
    async with ScriptedSmtp({"GREETING": [b"220 x\r\n", busy]}) as host:
        env.planner.ports = [host.port]
        async with env.relay():
            messages = [await env.post("m0@sink.test")]
            await env.become(messages[0], m0="delivered")  # the host has taken one connection
            messages += [await env.post(f"m{n}@sink.test") for n in range(1, 30)]
            for number, message in enumerate(messages):
                await env.become(message, **{f"m{number}": "delivered"})
    assert {tuple(env.events.kinds(message)) for message in messages} == {("delivered",)}
    assert await env.rows("SELECT key FROM outbound_lanes WHERE failures > 0") == []


async def test_a_relay_that_was_taken_for_dead_drops_everything_and_goes_on_under_a_new_id(
    env: RelayEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "RENEW_SECONDS", 1.0)
    async with ScriptedSmtp({"END": [STALL, b"250 2.0.0 taken\r\n"]}) as host:
        env.planner.ports = [host.port]
        async with env.relay() as relay:
            first = relay.liveness.identity.id
            message = await env.post("one@sink.test")
            await holds(lambda: bool(host.contents), "the content's arrival")
            await env.rows("UPDATE relays SET alive_until = now() - interval '1 min'")
            await env.queue.reap()
            await env.become(message, one="delivered")
            assert relay.liveness.identity.id != first
    assert len(host.contents) == 2
    assert env.events.kinds(message) == ["delivered"]


async def test_with_postgres_gone_nothing_is_lost_and_nothing_sent_twice(
    env: RelayEnv, sink: Sink
) -> None:
    async with env.relay():
        first = await env.post("one@sink.test")
        await env.become(first, one="delivered")
        await env.rows("ALTER TABLE outbound_recipients RENAME TO away")
        await asyncio.sleep(0.3)
        await env.rows("ALTER TABLE away RENAME TO outbound_recipients")
        second = await env.post("two@sink.test")
        await env.become(second, two="delivered")
    assert [taken.recipients for taken in sink.taken] == [("one@sink.test",), ("two@sink.test",)]


async def test_two_relays_share_the_queue_and_no_message_goes_twice(
    env: RelayEnv, sink: Sink
) -> None:
    messages = [await env.post(f"m{n}@sink.test") for n in range(40)]
    async with env.relay(), env.relay():
        for number, message in enumerate(messages):
            await env.become(message, **{f"m{number}": "delivered"})
    assert sorted(taken.recipients[0] for taken in sink.taken) == sorted(
        f"m{n}@sink.test" for n in range(40)
    )


async def test_a_forwarded_message_bounces_in_the_name_of_the_address_it_was_sent_to(
    env: RelayEnv, sink: Sink
) -> None:
    forwarded = Outbound(
        "nobody@sink.test", "sink.test", "srs0=x@example.test", original="team@example.test"
    )
    async with env.relay():
        await env.post(forwarded)
        (notice,) = await env.dsns(1)
    assert b"rfc822;team@example.test" in (notice.body or b"")
    assert b"nobody@sink.test" not in (notice.body or b"")
    assert notice.envelope.recipients == (SENDER,)


async def test_a_sender_is_told_once_that_a_message_waits(env: RelayEnv) -> None:
    env.mailboxes = PostgresMailboxes(env.database, QueuePolicy(1000, 0.1))
    env.planner.failure = Failed("connect", 0, "4.4.4", "there is no route for sink.test", False)
    async with env.relay(relay_retry_first_seconds=60.0, relay_retry_last_seconds=60.0):
        message = await env.post("slow@sink.test")
        await env.become(message, slow="deferred")
    dsn_sender = env.dsn_sender()

    async def is_overdue() -> bool:
        return (await env.queue.sweep_overdue(True, 100)).count > 0

    await until(is_overdue, what="its being overdue")
    await dsn_sender.send_pending()
    (notice,) = await env.dsns(1)
    assert (await env.queue.sweep_overdue(True, 100)).count == 0
    assert await env.queue.pending_dsns(10) == []
    assert b"Action: delayed" in (notice.body or b"") and b"Will-Retry-Until: " in (
        notice.body or b""
    )
    assert list((await env.states(message)).values()) == ["deferred"]


async def test_a_recipient_whose_time_is_over_shows_in_the_trace(env: RelayEnv) -> None:
    env.mailboxes = PostgresMailboxes(env.database, QueuePolicy(0.05, 0))
    message = await env.post(
        Outbound("late@sink.test", "sink.test", "srs0=x@example.test", original="team@example.test")
    )
    maintenance = QueueMaintenance(
        env.queue, env.events, ConnectionPool(1, 1), env.settings, on_dsn_due=lambda: None
    )

    async def is_over() -> bool:
        await maintenance.sweep()
        return set((await env.states(message)).values()) == {"bounced"}

    await until(is_over, what="its time to be over")
    (event,) = env.events.events
    assert (event.message, event.kind) == (message, "bounced")
    assert (event.detail["recipient"], event.detail["status"]) == ("late@sink.test", "4.4.7")
    assert event.detail["original"] == "team@example.test"


async def test_a_notice_that_is_sent_again_after_a_crash_is_kept_once(env: RelayEnv) -> None:
    forgetful = env.dsn_sender()
    ended = [
        Outbound(
            f"{name}@example.test",
            "example.test",
            SENDER,
            state=QueueState.BOUNCED,
            status="5.1.1",
            reply="550 5.1.1 gone",
            notice=Action.FAILED,
        )
        for name in ("one", "two")
    ]
    message = await env.post(*ended)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            PostgresQueue, "dsns_sent", AsyncMock(side_effect=Unavailable("postgres", "killed"))
        )
        with pytest.raises(Unavailable):
            await forgetful.send_pending()
    # another relay may report in its stead
    await env.rows("UPDATE outbound_messages SET reporting_until = now()")
    await asyncio.gather(env.dsn_sender().send_pending(), env.dsn_sender().send_pending())
    (notice,) = await env.dsns(1)
    await until(env.nothing_left, what="an empty stream")
    assert (notice.body or b"").count(b"Action: failed") == 2
    assert (
        await env.rows("SELECT open FROM outbound_messages WHERE message_id = $1", message)
    ) == [(0,)]


async def test_recipients_that_a_lost_answer_took_are_sent_under_a_new_id_while_the_old_one_finishes(
    env: RelayEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "RENEW_SECONDS", 1.0)
    real, lost, release = PostgresQueue.claim, 0, asyncio.Event()

    async def answer_lost(queue: PostgresQueue, relay: UUID, due: Due, *more: Any) -> Claim:
        nonlocal lost
        claim = await real(queue, relay, due, *more)
        if claim.jobs and due.destination == "lost.test" and not lost:
            lost += 1
            raise Unavailable("postgres", "the answer was lost")
        return claim

    original = ScriptedSmtp._do

    async def held(self: ScriptedSmtp, verb: str, writer: asyncio.StreamWriter) -> bytes | None:
        if verb == "END" and len(self.contents) == 1:
            await release.wait()
        return await original(self, verb, writer)

    monkeypatch.setattr(PostgresQueue, "claim", answer_lost)
    monkeypatch.setattr(ScriptedSmtp, "_do", held)
    async with ScriptedSmtp() as host:
        env.planner.ports = [host.port]
        async with env.relay() as relay:
            first = relay.liveness.identity.id
            slow = await env.post("slow@sink.test")
            await holds(lambda: bool(host.contents), "the content's arrival")
            message = await env.post("one@lost.test")
            await holds(lambda: relay.liveness.identity.id != first, "a new id")
            other = await env.post("two@other.test")
            await env.become(other, two="delivered")
            assert list((await env.states(slow)).values()) == ["sending"]
            release.set()
            await env.become(slow, slow="delivered")
            await env.become(message, one="delivered")
    assert lost == 1 and len(host.contents) == 3


async def test_outcomes_wait_for_postgres_and_are_recorded_when_it_is_back(
    env: RelayEnv, sink: Sink
) -> None:
    real, down = PostgresQueue.record, True

    async def record(queue: PostgresQueue, *arguments: Any) -> set[int]:
        if down:
            raise Unavailable("postgres", "down")
        return await real(queue, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PostgresQueue, "record", record)
        async with env.relay():
            message = await env.post("one@sink.test")
            await holds(lambda: bool(sink.taken), "the message")
            assert list((await env.states(message)).values()) == ["sending"]
            down = False
            await env.become(message, one="delivered")
    assert len(sink.taken) == 1


async def test_outcomes_whose_recording_is_uncertain_give_nothing_back_that_was_claimed_since(
    env: RelayEnv, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "RENEW_SECONDS", 1.0)
    real, lost = PostgresQueue.record, 0

    async def answer_lost(
        queue: PostgresQueue, relay: UUID, outcomes: Sequence[Outcome]
    ) -> set[int]:
        nonlocal lost
        ours = await real(queue, relay, outcomes)
        if not lost:
            lost += 1
            raise Unavailable("postgres", "the answer was lost")
        return ours

    monkeypatch.setattr(PostgresQueue, "record", answer_lost)
    async with env.relay() as relay:
        first = relay.liveness.identity.id
        message = await env.post("one@sink.test")
        await env.become(message, one="delivered")
        await holds(lambda: relay.liveness.identity.id != first, "a new id")
        other = await env.post("two@sink.test")
        await env.become(other, two="delivered")
    assert lost == 1
    assert sorted(recipient for taken in sink.taken for recipient in taken.recipients) == [
        "one@sink.test",
        "two@sink.test",
    ]


async def test_many_destinations_by_one_connection_do_not_wait_for_lingering_workers(
    env: RelayEnv, sink: Sink
) -> None:
    await env.rows(
        "INSERT INTO routes (domain, host, port, tls, connections) VALUES ('*', '127.0.0.1', 1, 'none', 1)"
    )
    messages = [await env.post(f"one@d{number}.test") for number in range(30)]
    async with env.relay():
        with timers_run() as run:
            for message in messages:
                await env.become(message, one="delivered")
    ran_out = [
        each for each in cast(list[Any], run) if getattr(each, "__name__", "") == "_on_timeout"
    ]
    in_vain = [each for each in ran_out if each.__self__._task.get_name().startswith("to d")]
    assert len(in_vain) < 12, "each would linger"


async def test_a_forwarded_copy_begins_with_the_fields_of_its_alias(
    env: RelayEnv, sink: Sink
) -> None:
    fields = {
        name: f"Delivered-To: {name}@example.test\r\nX-Posthorn-Passed: {name * 3}\r\n"
        for name in ("one", "two")
    }
    async with env.relay():
        message = await env.post(
            *(
                Outbound(f"{name}@sink.test", "sink.test", SENDER, header=fields[name])
                for name in ("one", "two")
            )
        )
        await env.become(message, one="delivered", two="delivered")
        large = await env.post(
            Outbound("big@sink.test", "sink.test", SENDER, header=fields["one"]),
            body=BODY + b"x" * 70 + b"\r\n" * 70_000,
        )
        await env.become(large, big="delivered")
    contents = {taken.recipients: taken.content for taken in sink.taken}
    assert contents[("one@sink.test",)] == fields["one"].encode() + BODY
    assert contents[("two@sink.test",)] == fields["two"].encode() + BODY
    assert contents[("big@sink.test",)].startswith(fields["one"].encode() + BODY)


async def test_strangers_are_told_little_and_not_more_than_so_often(
    env: RelayEnv, sink: Sink
) -> None:
    long = (
        b"From: x@stranger.test\r\nSubject: buy this\r\n"
        + b"X-Spam: %s\r\n" % (b"x" * 60) * 2000
        + b"\r\nbody\r\n"
    )
    async with env.relay(relay_reports_per_domain_per_hour=2):
        sent = [
            await env.post(
                "nobody@sink.test",
                body=long,
                sender="x@stranger.test",
                client_address=f"192.0.{n}.1",
                stranger=True,
            )
            for n in range(4)
        ]
        for message in sent:
            await env.become(message, nobody="bounced")

        async def told() -> bool:
            return (
                await env.rows("SELECT id FROM outbound_recipients WHERE closed_at IS NULL") == []
            )

        await until(told, BUSY_SECONDS)
        notices = await env.dsns(2)
        await until(env.nothing_left, BUSY_SECONDS)
    for notice in notices:
        body = notice.body or b""
        assert len(body) < 12_000 and body.count(b"buy this") == 1
    events = [
        event
        for message in sent
        for event in env.events.events
        if event.message == message and event.kind == "notice"
    ]
    assert sorted("suppressed" in event.detail for event in events) == [False, False, True, True]


async def test_reports_on_what_comes_from_one_network_are_counted_and_those_to_accounts_are_not(
    env: RelayEnv, sink: Sink
) -> None:
    async with env.relay(relay_reports_per_network_per_hour=1):
        for number in range(3):
            message = await env.post(
                "nobody@sink.test",
                sender=f"x@s{number}.test",
                client_address=f"192.0.2.{number}",
                stranger=True,
            )
            await env.become(message, nobody="bounced")
            message = await env.post("nobody@sink.test")
            await env.become(message, nobody="bounced")
        notices = await env.dsns(4)

        async def told() -> bool:
            return (
                await env.rows("SELECT id FROM outbound_recipients WHERE closed_at IS NULL") == []
            )

        await until(told, BUSY_SECONDS)
        await until(env.nothing_left, BUSY_SECONDS)
    assert sorted(notice.envelope.recipients[0] for notice in notices) == [SENDER] * 3 + [
        "x@s0.test"
    ]
