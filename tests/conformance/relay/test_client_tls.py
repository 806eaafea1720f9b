"""STARTTLS and implicit TLS of the relay's SMTP client (RFC 3207, RFC 7435, RFC 8314)."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from posthorn.ports.resolver import Tlsa
from posthorn_relay.smtp.types import Accepted, Tls
from tests.conformance.relay.client_env import (
    HOST,
    MESSAGE,
    QUICK,
    WITH_TLS,
    connector,
    failure_of,
    post,
    refusal,
    remote,
    tlsa,
    transaction,
)  # fmt: skip
from tests.support.polling import repeated_when_late
from tests.support.scripted_smtp import (
    CLOSE,
    FULL,
    PLAIN,
    Authority,
    Do,
    ScriptedSmtp,
    Step,
)


@pytest.mark.parametrize(
    ("tls", "level"),
    [
        (Tls.OPPORTUNISTIC, "unverified"),
        (Tls.REQUIRED, "unverified"),
        (Tls.VERIFIED, "verified"),
        (Tls.IMPLICIT, "verified"),
    ],
)
async def test_a_message_over_tls(authority: Authority, tls: Tls, level: str) -> None:
    context, _ = authority.issue(HOST)
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context, implicit=tls is Tls.IMPLICIT) as server:
        connection = await connector(authority.trust).connect(remote(server.port, tls))
        large = [b"x" * 998 + b"\r\n"] * 500
        for content in ([MESSAGE], large):
            (result,) = await connection.send(transaction(content=content))
            assert isinstance(result, Accepted)
            assert result.tls == f"TLSv1.3 TLS_AES_256_GCM_SHA384 {level}"
        await connection.close()
    assert b"".join(server.contents) == MESSAGE + b"".join(large)
    opening = [] if tls is Tls.IMPLICIT else ["EHLO", "STARTTLS"]
    assert server.verbs[: len(opening) + 2] == [*opening, "EHLO", "MAIL"]


@pytest.mark.parametrize("tls", [Tls.OPPORTUNISTIC, Tls.VERIFIED, Tls.DANE, Tls.IMPLICIT])
async def test_the_handshake_names_the_host(authority: Authority, tls: Tls) -> None:
    """SNI is the name of the MX host, whatever is checked (RFC 7672 §8.1, RFC 8461 §8.3)."""
    context, _ = authority.issue(HOST)
    named: list[str | None] = []

    def greeted(_: object, name: str | None, __: ssl.SSLContext) -> None:
        named.append(name)

    context.sni_callback = greeted
    record = tlsa(2, 0, 1, authority.der)
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context, implicit=tls is Tls.IMPLICIT) as server:
        at = remote(server.port, tls, tlsa=(record,) if tls is Tls.DANE else ())
        connection = await connector(authority.trust).connect(at)
        await connection.close()
    assert named == [HOST]


async def test_a_route_without_tls_stays_plain(authority: Authority) -> None:
    context, _ = authority.issue(HOST)
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context) as server:
        (result,) = await post(server, transaction(), remote(server.port, Tls.NONE))
    assert isinstance(result, Accepted)
    assert result.tls == ""
    assert "STARTTLS" not in server.verbs


@pytest.mark.parametrize("names", [("other.test", HOST), ("*.scripted.test",), ("127.0.0.1", HOST)])
async def test_one_of_the_names_will_do(authority: Authority, names: tuple[str, ...]) -> None:
    context, _ = authority.issue(*names)
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context) as server:
        wanted = ("mail.nowhere.test", HOST)
        connection = await connector(authority.trust).connect(
            remote(server.port, Tls.VERIFIED, names=wanted)
        )
        await connection.close()


@pytest.mark.parametrize("tls", [Tls.VERIFIED, Tls.IMPLICIT])
@pytest.mark.parametrize(
    ("names", "expired", "trusted", "why"),
    [
        (("other.test",), False, True, f"the certificate is not for {HOST}"),
        (("*.test", "a.mx.scripted.test"), False, True, f"the certificate is not for {HOST}"),
        ((), False, True, "the certificate bears no name"),
        ((HOST,), True, True, "the certificate: certificate has expired"),
        ((HOST,), False, False, "the certificate: self-signed certificate in certificate chain"),
    ],
)
async def test_a_certificate_that_does_not_verify_is_never_passed_over(
    authority: Authority,
    tmp_path: Path,
    tls: Tls,
    names: tuple[str, ...],
    expired: bool,
    trusted: bool,
    why: str,
) -> None:
    context, _ = authority.issue(*names, expired=expired)
    trust = authority.trust if trusted else Authority(tmp_path, "Another").trust
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context, implicit=tls is Tls.IMPLICIT) as server:
        failed = await refusal(remote(server.port, tls), trust=trust)
    assert failure_of(failed) == ("tls", 0, "4.7.5", False)
    assert failed.reply == why
    assert server.verbs == ([] if tls is Tls.IMPLICIT else ["EHLO", "STARTTLS"])


@pytest.mark.parametrize("tls", [Tls.REQUIRED, Tls.VERIFIED, Tls.DANE])
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ({"EHLO": FULL}, ("tls", 0, "4.7.4", False)),
        ({"EHLO": b"500 no\r\n"}, ("tls", 0, "4.7.4", False)),
        ({"EHLO": WITH_TLS, "STARTTLS": b"454 4.7.0 not now\r\n"}, ("tls", 454, "4.7.4", False)),
        ({"EHLO": WITH_TLS, "STARTTLS": b"554 5.7.3 never\r\n"}, ("tls", 554, "4.7.4", False)),
        ({"EHLO": WITH_TLS, "STARTTLS": CLOSE}, ("tls", 0, "4.4.2", False)),
    ],
)
async def test_tls_that_is_demanded_is_never_done_without(
    tls: Tls, script: dict[str, Step], expected: tuple[str, int, str, bool]
) -> None:
    async with ScriptedSmtp(script) as server:
        at = remote(server.port, tls, tlsa=(Tlsa(3, 1, 1, b"x" * 32),), login=("user", "hunter2"))
        failed = await refusal(at)
    assert failure_of(failed) == expected
    assert not {"MAIL", "AUTH"} & set(server.verbs)


@pytest.mark.parametrize(
    "step",
    [Do(b"220 go\r\n", then="close"), Do(b"220 go\r\n", then="stall"), b"454 4.7.0 not now\r\n"],
)
@repeated_when_late(0.3)
async def test_opportunistic_tls_goes_on_in_plain(step: Step) -> None:
    async with ScriptedSmtp({"EHLO": WITH_TLS, "STARTTLS": step}) as server:
        (result,) = await post(server, transaction(), **QUICK)
    assert isinstance(result, Accepted)
    assert result.tls == ""
    assert server.contents == [MESSAGE]
    assert server.verbs.count("STARTTLS") == 1


@pytest.mark.parametrize("tls", [Tls.OPPORTUNISTIC, Tls.REQUIRED])
async def test_a_host_with_no_tls_in_common(authority: Authority, tls: Tls) -> None:
    context, _ = authority.issue(HOST)
    context.set_ciphers("aNULL:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context) as server:
        if tls is Tls.OPPORTUNISTIC:
            (result,) = await post(server, transaction())
            assert isinstance(result, Accepted)
            assert result.tls == ""
            assert server.connections == 2
        else:
            failed = await refusal(remote(server.port, tls))
            assert failure_of(failed) == ("tls", 0, "4.7.5", False)
            assert failed.reply.startswith("TLS handshake: ")
            assert server.connections == 1


@pytest.mark.parametrize("tls", [Tls.OPPORTUNISTIC, Tls.REQUIRED])
@pytest.mark.parametrize(
    "more", [b"250 injected\r\n", b"250-half", b"250-scripted\r\n250 AUTH PLAIN\r\n"]
)
async def test_octets_injected_before_the_handshake_end_it(
    authority: Authority, tls: Tls, more: bytes
) -> None:
    context, _ = authority.issue(HOST)
    async with ScriptedSmtp(
        {"EHLO": WITH_TLS, "STARTTLS": b"220 go\r\n" + more}, context
    ) as server:
        failed = await refusal(remote(server.port, tls))
    assert failed.stage == "tls"
    assert not failed.permanent
    assert server.connections == 1
    assert server.verbs == ["EHLO", "STARTTLS"]


async def test_what_was_offered_in_plain_does_not_count_under_tls(authority: Authority) -> None:
    context, _ = authority.issue(HOST)
    async with ScriptedSmtp({"EHLO": [WITH_TLS, PLAIN]}, context) as server:
        (result,) = await post(server, transaction())
    assert isinstance(result, Accepted)
    assert not result.dsn
    assert "MAIL FROM:<a@x.test>" in server.commands
