"""Probes of routes against scripted hosts: what the report says of each step, and what is never
sent."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from posthorn.ports.queue import Route
from posthorn.ports.route_probes import ProbeReport, RouteProbe
from posthorn_relay.prober import RelayProber
from posthorn_relay.settings import EgressSettings
from posthorn_relay.smtp.types import Failed, RemoteHost, Tls
from tests.conformance.relay.client_env import HOST, WITH_TLS, remote
from tests.support.polling import repeated_when_late
from tests.support.scripted_smtp import CLOSE, FULL, PLAIN, STALL, Authority, ScriptedSmtp, Step

LOGIN = ("posthorn", "sesame open")
SECRETS = (LOGIN[1], base64.b64encode(b"\0posthorn\0sesame open").decode())
WITH_LOGIN = WITH_TLS.replace(b"250-DSN\r\n", b"250-DSN\r\n250-AUTH PLAIN\r\n")


@dataclass
class Hosts:
    """The routes and the planner of a relay: each route leads to the same hosts."""

    remotes: Sequence[RemoteHost] = ()
    failure: Failed | None = None
    asked: list[str] = field(default_factory=list)

    async def get(self, domain: str) -> Route:
        return Route(domain)

    async def plan(
        self, destination: str, route: Route | None, *, without_policies: bool = False
    ) -> Sequence[RemoteHost]:
        assert route is not None and not without_policies
        self.asked.append(destination)
        if self.failure:
            raise self.failure
        return self.remotes


async def probed(
    *remotes: RemoteHost,
    recipient: str = "",
    trust: Callable[[], ssl.SSLContext] | None = None,
    seconds: float = 20,
    step_seconds: float = 10,
) -> ProbeReport:
    settings = EgressSettings(
        relay_hostname="out.example.test", relay_greeting_seconds=step_seconds
    )
    hosts = Hosts(remotes)
    prober = RelayProber(hosts, hosts, settings, trust, seconds=seconds)
    return await prober.probe(RouteProbe("far.test", "far.test", recipient))


def told(report: ProbeReport) -> list[list[tuple[str, int]]]:
    """Stage and code of each step, by connection."""
    return [[(step.stage, step.code) for step in each.steps] for each in report.connections]


async def test_a_whole_probe_verified_and_logged_in(authority: Authority) -> None:
    context, certificate = authority.issue(HOST, "other.test")
    async with ScriptedSmtp({"EHLO": WITH_LOGIN}, context) as host:
        report = await probed(
            remote(host.port, Tls.VERIFIED, names=(HOST,), login=LOGIN),
            recipient="bob@far.test",
            trust=authority.trust,
        )
    assert report.failure is None
    assert told(report) == [
        [
            *(("greeting", 220), ("ehlo", 250), ("starttls", 220), ("tls", 0), ("ehlo", 250)),
            *(("auth", 235), ("mail", 250), ("rcpt", 250), ("rset", 250), ("quit", 221)),
        ]
    ]
    (connection,) = report.connections
    assert (connection.host, connection.address, connection.port) == (HOST, "127.0.0.1", host.port)
    assert {"SIZE 1000000", "AUTH PLAIN", "PIPELINING"} <= set(connection.extensions)
    by_stage = {step.stage: step for step in connection.steps}
    assert by_stage["ehlo"].command == "EHLO out.example.test"
    assert by_stage["ehlo"].reply.splitlines()[1] == "250-PIPELINING"
    assert by_stage["auth"].command == "AUTH PLAIN ***"
    assert (by_stage["auth"].status, by_stage["auth"].reply) == ("2.7.0", "235 2.7.0 welcome")
    assert by_stage["mail"].command == "MAIL FROM:<> AUTH=<>"
    assert by_stage["rcpt"].command == "RCPT TO:<bob@far.test>"
    assert all(step.seconds >= 0 for step in connection.steps)
    tls = connection.tls
    assert tls is not None and (tls.verdict, tls.problem) == ("verified", "")
    assert tls.version.startswith("TLSv1") and tls.cipher
    assert tls.names == (HOST, "other.test") and "Throwaway CA" in tls.issuer
    assert tls.expires_at == certificate.not_valid_after_utc.timestamp()
    assert not {"DATA", "BDAT"} & set(host.verbs) and not host.contents
    assert not any(secret in str(report) for secret in SECRETS)


@pytest.mark.parametrize(
    ("script", "stages", "failed"),
    [
        ({"GREETING": b"554 5.7.1 not you\r\n"}, [("greeting", 554)], ("greeting", 554, True)),
        ({"GREETING": CLOSE}, [("greeting", 0)], ("greeting", 0, False)),
        (
            {"MAIL": b"550 5.7.1 no\r\n", "EHLO": PLAIN},
            [("greeting", 220), ("ehlo", 250), ("mail", 550), ("rset", 250), ("quit", 221)],
            ("mail", 550, True),
        ),
        (
            {"RCPT": b"450-4.2.1 come\r\n450 4.2.1 later\r\n"},
            [
                *(("greeting", 220), ("ehlo", 250), ("mail", 250), ("rcpt", 450)),
                *(("rset", 250), ("quit", 221)),
            ],
            ("rcpt", 450, False),
        ),
        (
            {"MAIL": CLOSE},
            [("greeting", 220), ("ehlo", 250), ("mail", 0)],
            ("mail", 0, False),
        ),
    ],
)
async def test_refusals_and_losses(
    script: dict[str, Step], stages: list[tuple[str, int]], failed: tuple[str, int, bool]
) -> None:
    async with ScriptedSmtp(script) as host:
        report = await probed(remote(host.port, Tls.NONE), recipient="bob@far.test")
    assert told(report) == [stages]
    assert report.failure is not None
    assert (report.failure.stage, report.failure.code, report.failure.permanent) == failed
    assert report.connections[0].tls is None


async def test_a_closed_port_and_a_host_that_is_not_found() -> None:
    async with ScriptedSmtp() as host:
        pass
    report = await probed(remote(host.port))
    assert told(report) == [[("connect", 0)]]
    assert report.failure is not None and "Connection refused" in report.failure.reply
    assert report.connections[0].steps[0].reply == report.failure.reply

    hosts = Hosts(failure=Failed("dns", 0, "5.1.2", "no such domain", permanent=True))
    settings = EgressSettings(relay_hostname="out.example.test")
    nowhere = await RelayProber(hosts, hosts, settings).probe(RouteProbe("*", "nowhere.test"))
    assert nowhere.connections == () and hosts.asked == ["nowhere.test"]
    assert nowhere.failure is not None and nowhere.failure.stage == "dns"


async def test_the_next_host_is_tried_after_a_transient_answer() -> None:
    async with (
        ScriptedSmtp({"GREETING": b"421 4.3.2 busy\r\n"}) as busy,
        ScriptedSmtp() as idle,
        ScriptedSmtp() as unused,
    ):
        report = await probed(*(remote(host.port, Tls.NONE) for host in (busy, idle, unused)))
    assert report.failure is None and len(report.connections) == 2
    assert report.connections[0].steps[-1].reply == "421 4.3.2 busy"
    assert not unused.connections


@pytest.mark.parametrize("names", [(HOST,), ("wrong.test",)])
async def test_a_certificate_that_is_not_trusted_or_not_for_the_host(
    authority: Authority, names: tuple[str, ...], tmp_path: Path
) -> None:
    context, _ = authority.issue(*names)
    trust = authority.trust if names != (HOST,) else Authority(tmp_path, "Another CA").trust
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context) as host:
        report = await probed(remote(host.port, Tls.VERIFIED, names=(HOST,)), trust=trust)
        opportunistic = await probed(remote(host.port))
    assert report.failure is not None
    assert (report.failure.stage, report.failure.status) == ("tls", "4.7.5")
    (connection,) = report.connections
    assert connection.steps[-1].reply == report.failure.reply
    assert connection.steps[-1].stage == "tls"
    if names != (HOST,):
        assert connection.tls is not None
        assert (connection.tls.verdict, connection.tls.names) == ("rejected", names)
        assert connection.tls.problem == report.failure.reply
    # mail goes there all the same where no certificate is demanded; the report says what it is worth
    assert opportunistic.failure is None
    tls = opportunistic.connections[0].tls
    assert tls is not None and tls.verdict == "unverified"
    assert bool(tls.problem) == (names != (HOST,))


async def test_no_starttls_where_it_is_demanded_and_a_handshake_that_fails() -> None:
    async with ScriptedSmtp() as host:
        demanded = await probed(remote(host.port, Tls.REQUIRED))
    assert demanded.failure is not None and demanded.failure.stage == "tls"
    assert "does not offer STARTTLS" in demanded.connections[0].steps[-1].reply
    # plain text after a handshake that failed: two connections
    nothing = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    async with ScriptedSmtp({"EHLO": [WITH_TLS, FULL]}, nothing) as host:
        report = await probed(remote(host.port))
    assert report.failure is None and len(report.connections) == 2
    assert report.connections[0].steps[-1].stage == "tls"
    assert "TLS handshake" in report.connections[0].steps[-1].reply
    assert report.connections[1].tls is None


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (b"535 5.7.8 not with sesame open\r\n", 535),
        (f"535 5.7.8 {SECRETS[1]}\r\n".encode(), 535),
        ([b"334 \r\n", b"535 5.7.8 sesame open\r\n"], 535),
    ],
)
async def test_a_refused_login_and_a_host_that_repeats_it(reply: Step, code: int) -> None:
    script: dict[str, Step] = {"EHLO": WITH_LOGIN.replace(b"250-STARTTLS\r\n", b""), "AUTH": reply}
    async with ScriptedSmtp(script) as host:
        report = await probed(remote(host.port, Tls.NONE, login=LOGIN))
    assert report.failure is not None
    assert (report.failure.stage, report.failure.code) == ("auth", code)
    assert "MAIL" not in host.verbs
    assert not any(secret in str(report) for secret in SECRETS)
    assert "***" in report.connections[0].steps[-1].reply


@repeated_when_late(0.1)
async def test_a_host_that_hangs() -> None:
    async with ScriptedSmtp({"MAIL": STALL}) as host:
        late = await probed(remote(host.port, Tls.NONE), step_seconds=0.2)
        assert late.failure is not None and late.failure.stage == "mail"
        assert "no reply within 0.2 s" in late.failure.reply
        cut = await probed(remote(host.port, Tls.NONE), seconds=0.5)
    assert cut.failure is not None and "took longer than 0.5 s" in cut.failure.reply
    (connection,) = cut.connections
    assert (connection.steps[-1].stage, connection.steps[-1].reply) == ("mail", "no reply")
    assert cut.failure.stage == "mail"
