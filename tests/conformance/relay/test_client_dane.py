"""DANE certificate checks of the relay's SMTP client (RFC 7671, RFC 7672)."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from posthorn.ports.resolver import Tlsa
from posthorn_relay.smtp.types import Accepted, Tls
from tests.conformance.relay.client_env import (
    HOST,
    WITH_TLS,
    failure_of,
    post,
    refusal,
    remote,
    tlsa,
    transaction,
)  # fmt: skip
from tests.support.scripted_smtp import (
    FULL,
    Authority,
    ScriptedSmtp,
    spki,
)


@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("usage", [2, 3])
async def test_dane_matches(authority: Authority, usage: int, selector: int, matching: int) -> None:
    context, leaf = (
        authority.issue(HOST) if usage == 2 else authority.issue("other.test", expired=True)
    )
    certificate = authority.certificate if usage == 2 else leaf
    octets = spki(certificate) if selector else certificate.public_bytes(Encoding.DER)
    records = (Tlsa(3, 1, 1, b"\0" * 32), tlsa(usage, selector, matching, octets))
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context) as server:
        (result,) = await post(server, transaction(), remote(server.port, Tls.DANE, tlsa=records))
    assert isinstance(result, Accepted)
    assert result.tls == "TLSv1.3 TLS_AES_256_GCM_SHA384 dane"


@pytest.mark.parametrize(
    "case",
    [
        "other key",
        "other anchor",
        "leaf as anchor",
        "wrong name",
        "expired",
        "anchor's key, another's name",
    ],
)
async def test_dane_mismatches(authority: Authority, tmp_path: Path, case: str) -> None:
    context, leaf = authority.issue(
        "other.test" if case == "wrong name" else HOST, expired=case == "expired"
    )
    stranger = Authority(tmp_path, "Stranger")
    record = {
        "other key": tlsa(3, 1, 1, spki(stranger.certificate)),
        "other anchor": tlsa(2, 0, 1, stranger.der),
        "leaf as anchor": tlsa(2, 1, 1, spki(leaf)),
        "wrong name": tlsa(2, 0, 1, authority.der),
        "expired": tlsa(2, 0, 1, authority.der),
        "anchor's key, another's name": tlsa(2, 0, 0, Authority(tmp_path, authority.name).der),
    }[case]
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context) as server:
        failed = await refusal(remote(server.port, Tls.DANE, tlsa=(record,)))
    assert failure_of(failed) == ("tls", 0, "4.7.5", False)
    assert server.connections == 1


async def test_an_end_certificate_is_no_anchor_for_others(
    authority: Authority, tmp_path: Path
) -> None:
    """One that may not sign has signed the host's: the path does not hold."""
    between = Authority(tmp_path, "Between")
    between.certificate = between._sign("Between", between.key, authority=False)
    context, _ = between.issue(HOST)
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context) as server:
        failed = await refusal(remote(server.port, Tls.DANE, tlsa=(tlsa(2, 0, 1, between.der),)))
    assert failure_of(failed) == ("tls", 0, "4.7.5", False)
    assert failed.reply == "a certificate of the chain may sign none"


async def test_with_no_usable_record_tls_is_required_and_no_more(authority: Authority) -> None:
    context, _ = authority.issue("other.test")
    records = (
        Tlsa(0, 0, 1, b"x" * 32),
        Tlsa(3, 1, 1, b"short"),
        Tlsa(3, 7, 1, b"x" * 32),
        Tlsa(2, 0, 9, b"x"),
    )
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context) as server:
        (result,) = await post(server, transaction(), remote(server.port, Tls.DANE, tlsa=records))
        assert isinstance(result, Accepted)
        assert result.tls.endswith("unverified")
        server.script = {"EHLO": FULL}
        assert failure_of(await refusal(remote(server.port, Tls.DANE, tlsa=records)))[0] == "tls"
