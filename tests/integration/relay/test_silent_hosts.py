"""A host that takes the connection and then says nothing, at each stage: the message waits, with
what the host did as its reply, and is sent when the host speaks again."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import pytest
from structlog.testing import capture_logs

from posthorn_relay.smtp.types import Tls
from tests.support.relay_env import BODY, RelayEnv
from tests.support.scripted_smtp import FULL, PLAIN, STALL, Do, ScriptedSmtp, Step

_SILENCE = 3
"""Seconds: a host that answers on a busy machine is not taken for silent."""
_QUICK = {
    f"relay_{name}_seconds": float(_SILENCE)
    for name in ("greeting", "data", "end", "block", "connect")
}
_OK = b"250 2.0.0 ok\r\n"
_TLS = FULL.replace(b"CHUNKING", b"STARTTLS")
_STAGES: dict[str, Mapping[str, Step]] = {
    "the greeting": {"GREETING": [STALL, b"220 scripted.test ESMTP\r\n"]},
    "EHLO": {"EHLO": [STALL, FULL]},
    "MAIL": {"EHLO": PLAIN, "MAIL": [STALL, _OK]},
    "RCPT": {"EHLO": PLAIN, "RCPT": [STALL, _OK]},
    "DATA": {"EHLO": PLAIN, "DATA": [STALL, b"354 go on\r\n"]},
    "the end of the message": {"EHLO": PLAIN, "END": [STALL, _OK]},
}
_CLOSES = {"the greeting", "EHLO", "MAIL"}
"""Where the host is taken to be down, for all mail."""


async def _try_again(env: RelayEnv) -> None:
    await env.rows("UPDATE outbound_lanes SET closed_until = now()")
    await env.rows("UPDATE outbound_recipients SET due_at = now()")
    await env.rows("UPDATE outbound_destinations SET due_at = now()")


@pytest.mark.parametrize("stage", _STAGES)
async def test_a_message_outlasts_silence(env: RelayEnv, stage: str) -> None:
    async with ScriptedSmtp(_STAGES[stage]) as host:
        env.planner.ports = [host.port]
        with capture_logs() as lines:
            async with env.relay(**_QUICK):
                message = await env.post("bob@sink.test")
                await env.become(message, bob="deferred")
                assert await env.rows(
                    "SELECT last_status, last_reply FROM outbound_recipients"
                ) == [("4.4.2", f"at {stage}: no reply within {_SILENCE} s")]
                await _try_again(env)
                await env.become(message, bob="delivered")
    assert {each.replace(b"\r\n..", b"\r\n.") for each in host.contents} == {BODY}
    said = [line["event"] for line in lines if line["event"].startswith("next hop")]
    assert said == (
        ["next hop closed for a while", "next hop open again"] if stage in _CLOSES else []
    )


@pytest.mark.parametrize("answers", [STALL, Do(b"220 go on\r\n", then="stall")])
async def test_a_host_that_offers_tls_and_falls_silent_gets_plain_text(
    env: RelayEnv, answers: Step
) -> None:
    env.planner.tls = Tls.OPPORTUNISTIC
    async with ScriptedSmtp({"EHLO": [_TLS, PLAIN], "STARTTLS": answers}) as host:
        env.planner.ports = [host.port]
        async with env.relay(**_QUICK):
            message = await env.post("bob@sink.test")
            await env.become(message, bob="delivered")
            again = await env.post("carol@sink.test")
            await env.become(again, carol="delivered")
    assert env.events.kinds(message) == env.events.kinds(again) == ["delivered"]
    assert host.verbs.count("STARTTLS") == 1, "it is remembered"


async def test_a_host_that_answers_no_connection_is_tried_again(env: RelayEnv) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)  # the kernel takes one, and drops the SYN of all others
        env.planner.ports = [port] = [deaf.getsockname()[1]]
        with socket.create_connection(("127.0.0.1", port)):
            async with env.relay(**_QUICK):
                message = await env.post("bob@sink.test")
                await env.become(message, bob="deferred")
                deaf.close()
                assert await env.rows(
                    "SELECT last_status, last_reply FROM outbound_recipients"
                ) == [("4.4.1", f"connecting to port {port}: no connection within {_SILENCE} s")]
                async with ScriptedSmtp({"EHLO": PLAIN}, port=port) as host:
                    await _try_again(env)
                    await env.become(message, bob="delivered")
    assert host.verbs.count("MAIL") == 1
