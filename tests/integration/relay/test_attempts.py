"""One attempt over all hosts of a destination, and what a host's session and commands may cost
(RFC 5321 §5.1, §3.8)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

import pytest

from posthorn.adapters.postgres.queue.administration import PostgresQueueAdministration
from posthorn.ports.queue import Due
from posthorn.ports.queue_administration import QueueFilter
from posthorn_local.embedded import free_port
from posthorn_relay import next_hop
from tests.support.polling import until
from tests.support.relay_env import BODY, RelayEnv
from tests.support.scripted_smtp import CLOSE, FULL, PLAIN, RESET, Do, ScriptedSmtp, Step

_SLOW = {"relay_retry_first_seconds": 600.0, "relay_retry_last_seconds": 600.0}
"""A second attempt would come too late for any test: what arrives has arrived by the first one."""
_NO_CHUNKS = FULL.replace(b"CHUNKING", b"ENHANCEDSTATUSCODES")
_BUSY = b"421 4.3.2 busy\r\n"
_TROUBLES: dict[str, Mapping[str, Step]] = {
    "421 in the greeting": {"GREETING": _BUSY},
    "554 in the greeting": {"GREETING": b"554 5.3.2 not now\r\n"},
    "closes before the greeting": {"GREETING": CLOSE},
    "421 at EHLO": {"EHLO": _BUSY},
    "421 at MAIL": {"MAIL": Do(_BUSY, then="close")},
    "421 at MAIL, without pipelining": {"EHLO": PLAIN, "MAIL": Do(_BUSY, then="close")},
    "closes at MAIL": {"MAIL": CLOSE},
    "451 at MAIL": {"MAIL": b"451 4.3.0 no disk\r\n"},
    "452 at RCPT": {"RCPT": b"452 4.3.1 disk full\r\n"},
    "450 at RCPT, without pipelining": {"EHLO": PLAIN, "RCPT": b"450 4.2.0 grey\r\n"},
    "421 at RCPT": {"RCPT": Do(_BUSY, then="close")},
    "reset at RCPT": {"RCPT": RESET},
    "451 at DATA": {"DATA": b"451 4.3.0 no\r\n"},
    "421 at DATA": {"DATA": Do(_BUSY, then="close")},
    "closes at DATA": {"DATA": CLOSE},
    "451 after the final dot": {"END": b"451 4.3.0 scanner away\r\n"},
    "421 after the final dot": {"END": Do(_BUSY, then="close")},
    "closes after the final dot": {"END": CLOSE},
    "resets after the final dot": {"END": RESET},
    "nonsense for a reply": {"MAIL": b"what?\r\n"},
}


async def attempts(env: RelayEnv) -> list[tuple[str, str, int]]:
    return [
        (str(recipient).partition("@")[0], str(state), int(number))
        for recipient, state, number in await env.rows(
            "SELECT recipient, state, attempts FROM outbound_recipients ORDER BY id"
        )
    ]


# A: every host is tried within one attempt


@pytest.mark.parametrize("trouble", _TROUBLES)
async def test_kind_a_a_host_in_trouble_at_any_stage_leads_to_the_next_one(
    env: RelayEnv, trouble: str
) -> None:
    async with (
        ScriptedSmtp({"EHLO": _NO_CHUNKS, **_TROUBLES[trouble]}) as first,
        ScriptedSmtp() as second,
    ):
        env.planner.ports = [first.port, second.port]
        async with env.relay(**_SLOW):
            message = await env.post("bob@next.test")
            await env.become(message, bob="delivered")
    assert first.connections >= 1
    assert len(second.contents) == 1
    assert await attempts(env) == [("bob", "delivered", 1)]
    assert env.events.kinds(message) == ["delivered"]
    assert await env.rows("SELECT key FROM outbound_lanes WHERE closed_until > now()") == []


async def test_kind_a_three_hosts_are_asked_in_turn(env: RelayEnv) -> None:
    async with AsyncExitStack() as stack:
        scripts: list[Mapping[str, Step]] = [
            {"RCPT": b"450 4.2.0 grey\r\n"},
            {"MAIL": Do(_BUSY, then="close")},
            {},
        ]
        hosts = [await stack.enter_async_context(ScriptedSmtp(script)) for script in scripts]
        env.planner.ports = [hosts[0].port, free_port(), hosts[1].port, hosts[2].port]
        async with env.relay(**_SLOW):
            message = await env.post("bob@next.test")
            await env.become(message, bob="delivered")
        assert [host.connections for host in hosts] == [1, 1, 1]
    assert await attempts(env) == [("bob", "delivered", 1)]


async def test_kind_a_only_recipients_with_a_transient_answer_go_to_the_next_host(
    env: RelayEnv,
) -> None:
    answers: Step = [b"250 2.1.5 ok\r\n", b"550 5.1.1 no such user\r\n", b"452 4.5.3 too many\r\n"]
    async with ScriptedSmtp({"RCPT": answers}) as first, ScriptedSmtp() as second:
        env.planner.ports = [first.port, second.port]
        async with env.relay(**_SLOW):
            message = await env.post("one@next.test", "two@next.test", "three@next.test")
            await env.become(message, one="delivered", two="bounced", three="delivered")
        assert [command for command in second.commands if command.startswith("RCPT")] == [
            "RCPT TO:<three@next.test>"
        ]
    assert await attempts(env) == [
        ("one", "delivered", 1),
        ("two", "bounced", 1),
        ("three", "delivered", 1),
    ]


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "END"])
async def test_kind_a_a_permanent_answer_is_final_at_every_stage(env: RelayEnv, stage: str) -> None:
    async with (
        ScriptedSmtp({"EHLO": _NO_CHUNKS, stage: b"550 5.7.1 no\r\n"}) as first,
        ScriptedSmtp() as second,
    ):
        env.planner.ports = [first.port, second.port]
        async with env.relay(**_SLOW):
            message = await env.post("bob@next.test")
            await env.become(message, bob="bounced")
    assert second.connections == 0


async def test_kind_a_a_round_without_success_is_one_attempt_and_says_what_a_host_said(
    env: RelayEnv,
) -> None:
    async with (
        ScriptedSmtp({"RCPT": b"450 4.2.0 grey\r\n"}) as first,
        ScriptedSmtp({"MAIL": CLOSE}) as second,
    ):
        env.planner.ports = [first.port, second.port, free_port()]
        async with env.relay(**_SLOW):
            message = await env.post("bob@next.test")
            await env.become(message, bob="deferred")
    assert (first.connections, second.connections) == (1, 1)
    ((number, reply),) = await env.rows("SELECT attempts, last_reply FROM outbound_recipients")
    assert (number, reply) == (1, "450 4.2.0 grey")
    assert env.events.kinds(message) == ["deferred"]
    # a host has answered for this message: the others are not kept from it
    assert await env.rows("SELECT key FROM outbound_lanes WHERE closed_until > now()") == []


async def test_kind_a_where_no_host_takes_any_mail_the_next_hop_is_closed(env: RelayEnv) -> None:
    script: dict[str, Step] = {"MAIL": Do(_BUSY, then="close")}
    async with ScriptedSmtp(script) as first, ScriptedSmtp(script) as second:
        env.planner.ports = [first.port, second.port]
        async with env.relay(**_SLOW):
            message = await env.post("bob@next.test")
            await env.become(message, bob="deferred")
        assert (first.connections, second.connections) == (1, 1)
    assert len(await env.rows("SELECT key FROM outbound_lanes WHERE closed_until > now()")) == 1


async def test_kind_a_the_host_in_trouble_stands_behind_the_others_for_a_while(
    env: RelayEnv,
) -> None:
    async with (
        ScriptedSmtp({"EHLO": _NO_CHUNKS, "DATA": b"451 4.3.0 no\r\n"}) as first,
        ScriptedSmtp() as second,
    ):
        env.planner.ports = [first.port, second.port]
        async with env.relay(**_SLOW) as relay:
            for name in ("one", "two", "three"):
                message = await env.post(f"{name}@next.test")
                await env.become(message, **{name: "delivered"})
            assert (first.connections, len(second.contents)) == (1, 3)
            hop = relay.next_hops.get(Due("next.test", None).next_hop)
            assert next_hop.BAD_HOST_SECONDS < 600
            await until(lambda: hop.workers == hop.connected <= 1)  # one may leave as one begins
    assert await env.rows("SELECT id FROM outbound_slots") == []


async def test_kind_a_a_large_message_is_offered_whole_to_the_next_host(env: RelayEnv) -> None:
    body = BODY + b"0123456789abcde\r\n" * 20_000
    async with ScriptedSmtp({"END": CLOSE}) as first, ScriptedSmtp() as second:
        env.planner.ports = [first.port, second.port]
        async with env.relay(**_SLOW):
            message = await env.post("bob@next.test", body=body)
            await env.become(message, bob="delivered")
    assert b"".join(second.contents) == body


async def test_kind_a_next_hops_and_slots_hold_while_many_messages_change_hosts(
    env: RelayEnv,
) -> None:
    async with ScriptedSmtp({"RCPT": b"451 4.3.0 no\r\n"}) as first, ScriptedSmtp() as second:
        env.planner.ports = [first.port, second.port]
        messages = [await env.post(f"m{n}@next.test") for n in range(30)]
        async with env.relay(relay_destination_connections=3, **_SLOW) as relay:
            for number, message in enumerate(messages):
                await env.become(message, **{f"m{number}": "delivered"})
            hop = relay.next_hops.get(Due("next.test", None).next_hop)
        assert len(second.contents) == 30
        assert (hop.workers, hop.connected) == (0, 0)
    assert await env.rows("SELECT id FROM outbound_slots") == []
    assert {number for _, _, number in await attempts(env)} == {1}


# E: 421 on a connection that has carried mail


@pytest.mark.usefixtures("idle_connections_stay")
@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
async def test_kind_e_421_on_a_used_connection_costs_no_attempt(env: RelayEnv, stage: str) -> None:
    usual = {"MAIL": b"250 ok\r\n", "RCPT": b"250 ok\r\n", "DATA": b"354 go\r\n"}[stage]
    steps: Step = [usual, usual, Do(b"421 4.7.0 no more in this session\r\n", then="close"), usual]
    async with ScriptedSmtp({"EHLO": _NO_CHUNKS, stage: steps}) as host:
        env.planner.ports = [host.port]
        async with env.relay(relay_destination_connections=1, **_SLOW):
            for name in ("one", "two", "three"):
                message = await env.post(f"{name}@limit.test")
                await env.become(message, **{name: "delivered"})
        assert host.connections == 2
    assert await attempts(env) == [(name, "delivered", 1) for name in ("one", "two", "three")]


class _Limited(ScriptedSmtp):
    """Takes two messages by one connection."""

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._turns.clear()
        await super()._talk(reader, writer)


@pytest.mark.usefixtures("idle_connections_stay")
async def test_kind_e_what_a_host_takes_in_a_session_is_remembered_and_obeyed(
    env: RelayEnv,
) -> None:
    last = Do(b"421 4.7.0 message limit\r\n", then="close")
    async with _Limited({"MAIL": [b"250 ok\r\n", b"250 ok\r\n", last]}) as host:
        env.planner.ports = [host.port]
        messages = [await env.post(f"m{n}@limit.test") for n in range(9)]
        async with env.relay(relay_destination_connections=1, **_SLOW):
            for number, message in enumerate(messages):
                await env.become(message, **{f"m{number}": "delivered"})
        assert host.verbs.count("MAIL") == 10  # one refusal taught it
        assert host.connections == 5
    assert {number for _, _, number in await attempts(env)} == {1}


# F: commands sent ahead of the reply to the message before


@pytest.mark.parametrize(
    "script",
    [
        {},
        {"END": [b"250 ok\r\n", Do(b"250 ok\r\n421 4.7.0 enough\r\n", then="close")]},
        {"END": [b"250 ok\r\n", Do(b"250 ok\r\n", then="reset")]},
        {"RSET": Do(b"503 5.5.1 not now\r\n", then="close")},
    ],
)
async def test_kind_f_what_was_announced_is_sent_once_wherever_the_host_ends(
    env: RelayEnv, script: Mapping[str, Step]
) -> None:
    async with _Limited({"EHLO": _NO_CHUNKS, **script}) as host:
        env.planner.ports = [host.port]
        bodies = [BODY.replace(b"\r\n\r\n", b"\r\nX-Number: %d\r\n\r\n" % n, 1) for n in range(9)]
        messages = [await env.post(f"m{n}@end.test", body=body) for n, body in enumerate(bodies)]
        async with env.relay(relay_destination_connections=1, **_SLOW):
            for number, message in enumerate(messages):
                await env.become(message, **{f"m{number}": "delivered"})
        assert "RSET" in host.verbs
        numbers = [content.partition(b"X-Number: ")[2][:1] for content in host.contents]
        assert sorted(numbers) == [b"%d" % number for number in range(9)]
    assert {number for _, _, number in await attempts(env)} == {1}


# G: BDAT refused


@pytest.mark.parametrize(
    "reply",
    [b"500 5.5.2 what\r\n", b"501 no\r\n", b"502 5.5.1 no\r\n", b"503 5.5.1 no\r\n", b"504 x\r\n"],
)
@pytest.mark.parametrize("kind", ["dots", "large"])
async def test_kind_g_where_bdat_is_refused_the_message_goes_by_data(
    env: RelayEnv, reply: bytes, kind: str
) -> None:
    body = BODY if kind == "dots" else BODY + b"0123456789abcde\r\n" * 30_000
    # a message with one large chunk is refused at its first or at its last one
    async with ScriptedSmtp(
        {"BDAT": reply, "END": [reply, b"250 2.0.0 taken\r\n"] if kind == "dots" else b"250 ok\r\n"}
    ) as host:
        env.planner.ports = [host.port]
        async with env.relay(**_SLOW):
            message = await env.post("bob@chunks.test", body=body)
            await env.become(message, bob="delivered")
            again = await env.post("ann@chunks.test", body=body)
            await env.become(again, ann="delivered")
        assert host.contents[-1] == body.replace(b"\r\n.", b"\r\n..")
        assert host.verbs.count("DATA") == 2
        assert len({verb for verb in host.verbs if verb == "BDAT"}) == 1
    assert await attempts(env) == [("bob", "delivered", 1), ("ann", "delivered", 1)]


async def test_kind_g_another_refusal_of_a_chunk_is_the_messages(env: RelayEnv) -> None:
    async with ScriptedSmtp({"END": b"554 5.7.1 spam\r\n"}) as host:
        env.planner.ports = [host.port]
        async with env.relay(**_SLOW):
            message = await env.post("bob@chunks.test")
            await env.become(message, bob="bounced")
        assert host.verbs.count("DATA") == 0


# 50: many recipients of one message


@pytest.mark.parametrize(("recipients", "transactions"), [(100, 1), (101, 2), (250, 3), (30, 1)])
async def test_kind_50_recipients_of_one_message_share_transactions(
    env: RelayEnv, recipients: int, transactions: int
) -> None:
    async with ScriptedSmtp() as host:
        env.planner.ports = [host.port]
        message = await env.post(*(f"r{n}@many.test" for n in range(recipients)))
        async with env.relay(**_SLOW):
            await env.become(message, **{f"r{n}": "delivered" for n in range(recipients)})
        assert host.verbs.count("MAIL") == transactions
        assert host.verbs.count("RCPT") == recipients


# D: "send it now"


@pytest.mark.parametrize("action", ["retry each", "retry all", "route"])
async def test_kind_d_a_host_that_is_back_gets_what_waits_at_once(
    env: RelayEnv, action: str
) -> None:
    administration = PostgresQueueAdministration(env.database)
    port = free_port()
    env.planner.ports = [port]
    async with env.relay(**_SLOW):
        first = await env.post("one@back.test")
        await env.become(first, one="deferred")
        second = await env.post("two@back.test")
        (waiting,) = await administration.items(None, QueueFilter(message=second), None, 10)
        assert waiting.next_hop is not None and "Connection refused" in waiting.next_hop.reply
        async with ScriptedSmtp(port=port) as host:
            if action == "retry each":
                for item in await administration.items(
                    None, QueueFilter(domain="back.test"), None, 10
                ):
                    await administration.act(None, "retry", item.id)
            elif action == "retry all":
                await administration.act_on_all(None, "retry", QueueFilter(domain="back.test"), 10)
            else:
                await administration.route_changed("back.test", 10)
            await env.become(first, one="delivered")
            await env.become(second, two="delivered")
            assert len(host.contents) == 2
