"""What policies ask of a host's certificate: MTA-STS enforced and tested (RFC 8461), DANE
through chains (RFC 7671, RFC 7672)."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from posthorn.ports.resolver import Tlsa
from posthorn_relay.smtp.types import Accepted, Failed, StsRequirement, Tls
from tests.conformance.relay.client_env import (
    HOST,
    WITH_TLS,
    connector,
    failure_of,
    refusal,
    remote,
    tlsa,
    transaction,
)
from tests.support.scripted_smtp import CLOSE, FULL, STALL, Authority, Do, ScriptedSmtp, Step, spki

TESTING, ENFORCED = (
    StsRequirement("scripted.test", enforced=False),
    StsRequirement("scripted.test", enforced=True),
)


def noted(mode: str) -> dict[str, float]:
    """How many failures there are of each kind."""
    (family,) = [one for one in REGISTRY.collect() if one.name == "posthorn_relay_mta_sts_failures"]
    return {
        sample.labels["result"]: sample.value
        for sample in family.samples
        if sample.name.endswith("_total") and sample.labels["mode"] == mode
    }


def gained(mode: str, before: dict[str, float]) -> dict[str, float]:
    return {
        result: value - before.get(result, 0)
        for result, value in noted(mode).items()
        if value != before.get(result)
    }


# MTA-STS


@dataclass(frozen=True, slots=True)
class Case:
    """A host that does not satisfy a policy."""

    result: str
    script: dict[str, Step]
    names: tuple[str, ...] = (HOST,)
    expired: bool = False
    strange: bool = False
    encrypted: bool = True
    """What is opportunistic comes about all the same."""


CASES = {
    "no starttls": Case("starttls-not-supported", {"EHLO": FULL}, encrypted=False),
    "starttls refused": Case(
        "starttls-not-supported",
        {"EHLO": WITH_TLS, "STARTTLS": b"454 4.7.0 not now\r\n"},
        encrypted=False,
    ),
    "handshake cut": Case(
        "validation-failure",
        {"EHLO": WITH_TLS, "STARTTLS": Do(b"220 go\r\n", then="close")},
        encrypted=False,
    ),
    "wrong name": Case("certificate-host-mismatch", {"EHLO": WITH_TLS}, names=("other.test",)),
    "no name": Case("certificate-host-mismatch", {"EHLO": WITH_TLS}, names=()),
    "expired": Case("certificate-expired", {"EHLO": WITH_TLS}, expired=True),
    "stranger": Case("certificate-not-trusted", {"EHLO": WITH_TLS}, strange=True),
}


def trusting(case: Case, authority: Authority, tmp_path: Path) -> Callable[[], ssl.SSLContext]:
    return Authority(tmp_path, "Another").trust if case.strange else authority.trust


@pytest.mark.parametrize("demand", [Tls.OPPORTUNISTIC, Tls.REQUIRED])
@pytest.mark.parametrize("name", CASES)
async def test_what_fails_a_policy_in_testing_is_noted_and_the_mail_sent(
    authority: Authority, tmp_path: Path, name: str, demand: Tls
) -> None:
    case = CASES[name]
    context, _ = authority.issue(*case.names, expired=case.expired)
    before = noted("testing")
    async with ScriptedSmtp(case.script, context) as server:
        at = remote(server.port, demand, names=(HOST,), sts=TESTING)
        client = connector(trusting(case, authority, tmp_path))
        with capture_logs() as logs:
            if demand is Tls.REQUIRED and not case.encrypted:
                with pytest.raises(Failed):  # the remote's own demand is no policy's
                    await client.connect(at)
            else:
                connection = await client.connect(at)
                (result,) = await connection.send(transaction())
                await connection.close()
                assert isinstance(result, Accepted)
                assert result.tls.endswith("unverified") is case.encrypted
                assert bool(result.tls) is case.encrypted
    assert gained("testing", before) == {case.result: 1}
    (told_,) = [one for one in logs if one["event"] == "a host does not satisfy the mta-sts policy"]
    assert (told_["domain"], told_["host"], told_["enforced"], told_["result"]) == (
        "scripted.test", HOST, False, case.result,
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_what_fails_an_enforced_policy_is_noted_and_not_sent(
    authority: Authority, tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    context, _ = authority.issue(*case.names, expired=case.expired)
    before = noted("enforce")
    async with ScriptedSmtp(case.script, context) as server:
        at = remote(server.port, Tls.VERIFIED, names=(HOST,), sts=ENFORCED)
        failed = await refusal(at, trust=trusting(case, authority, tmp_path))
        assert server.connections == 1
    assert failed.stage == "tls"
    assert not failed.permanent
    assert "MAIL" not in server.verbs
    assert gained("enforce", before) == {case.result: 1}


async def test_a_route_that_demands_more_than_a_tested_policy_is_noted_once(
    authority: Authority,
) -> None:
    context, _ = authority.issue("other.test")
    before = noted("testing")
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context) as server:
        await refusal(
            remote(server.port, Tls.VERIFIED, names=(HOST,), sts=TESTING), trust=authority.trust
        )
        assert server.connections == 1
    assert gained("testing", before) == {"certificate-host-mismatch": 1}


async def test_a_host_that_satisfies_a_policy_in_testing_is_connected_to_once(
    authority: Authority,
) -> None:
    context, _ = authority.issue(HOST)
    before = noted("testing")
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context) as server:
        connection = await connector(authority.trust).connect(
            remote(server.port, names=(HOST,), sts=TESTING)
        )
        assert connection.tls.endswith(" verified")
        await connection.close()
        assert server.connections == 1
    assert gained("testing", before) == {}


@pytest.mark.parametrize(
    "script", [{"GREETING": CLOSE}, {"GREETING": b"554 5.7.1 no\r\n"}, {"EHLO": b"450 later\r\n"}]
)
async def test_what_is_no_fault_of_tls_is_not_noted(script: dict[str, Step]) -> None:
    before = noted("testing")
    async with ScriptedSmtp(script) as server:
        await refusal(remote(server.port, sts=TESTING))
        assert server.connections == 1
    assert gained("testing", before) == {}


@pytest.mark.parametrize(
    "silence", [STALL, Do(b"220 go on\r\n", then="stall")], ids=["reply", "handshake"]
)
@pytest.mark.parametrize(
    "demands",
    [
        {"tls": Tls.REQUIRED},
        {"tls": Tls.VERIFIED, "sts": ENFORCED},
        {"tls": Tls.DANE},
        {"tls": Tls.OPPORTUNISTIC, "sts": TESTING},
    ],
    ids=["required", "enforced", "dane", "testing"],
)
async def test_only_where_plain_text_is_allowed_a_host_silent_at_starttls_gets_it(
    demands: dict[str, Any], silence: Step
) -> None:
    client = connector(relay_connect_seconds=2, relay_greeting_seconds=2)
    async with ScriptedSmtp({"EHLO": WITH_TLS, "STARTTLS": silence}) as server:
        for _ in range(2):
            if demands["tls"] is Tls.OPPORTUNISTIC:
                before = noted("testing")
                connection = await client.connect(remote(server.port, names=(HOST,), **demands))
                assert connection.tls == ""
                await connection.close()
                assert gained("testing", before) == {"validation-failure": 1}
            else:
                with pytest.raises(Failed):
                    await client.connect(remote(server.port, names=(HOST,), **demands))
    tries = 1 if demands["tls"] is Tls.OPPORTUNISTIC else 2
    assert (server.verbs.count("STARTTLS"), server.verbs.count("MAIL")) == (tries, 0)


# DANE

type Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def spki(self) -> bytes:
        return spki(self.certificate)


def issue(
    name: str, by: Issued | None = None, *, key: Key | None = None, authority: bool = False, names: tuple[str, ...] = (),
    days: int = 1, path_length: int | None = None, usage: x509.ObjectIdentifier | None = None,
    critical: x509.ExtensionType | None = None,
) -> Issued:  # fmt: skip
    """Make a certificate; one of its own where ``by`` is not given. ``days`` below 0: it has
    expired."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=9))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=path_length), critical=True)
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName(list(map(x509.DNSName, names))), critical=False
        )
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if critical:
        builder = builder.add_extension(critical, critical=True)
    return Issued(builder.sign(by.key if by else key, hashes.SHA256()), key)


def serving(directory: Path, leaf: Issued, *others: Issued) -> ssl.SSLContext:
    """A server that shows these certificates in this order."""
    path = directory / "chain.pem"
    path.write_bytes(
        leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + b"".join(one.certificate.public_bytes(Encoding.PEM) for one in (leaf, *others))
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


async def dane(context: ssl.SSLContext, *records: Tlsa, **more: Any) -> Failed | None:
    """Connect as DANE demands; returns what failed."""
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context) as server:
        try:
            connection = await connector().connect(
                remote(server.port, Tls.DANE, tlsa=records, **more)
            )
        except Failed as failed:
            assert failure_of(failed) == ("tls", 0, "4.7.5", False)
            assert server.connections == 1
            return failed
        assert connection.tls.endswith(" dane")
        await connection.close()
    return None


ROOT = issue("Root", authority=True)
BETWEEN = issue("Between", ROOT, authority=True)
LOW = issue("Low", BETWEEN, authority=True)
LEAF = issue("leaf", LOW, names=(HOST,), usage=ExtendedKeyUsageOID.SERVER_AUTH)


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("anchor", [ROOT, BETWEEN, LOW], ids=["root", "between", "low"])
async def test_an_anchor_anywhere_in_the_chain_will_do(
    tmp_path: Path, anchor: Issued, selector: int
) -> None:
    context = serving(tmp_path, LEAF, LOW, BETWEEN, ROOT)
    record = tlsa(2, selector, 1, anchor.spki if selector else anchor.der)
    assert await dane(context, record) is None


async def test_the_order_of_the_chain_and_strangers_in_it_do_not_matter(tmp_path: Path) -> None:
    stranger = issue("Stranger", authority=True)
    assert (
        await dane(serving(tmp_path, LEAF, ROOT, stranger, BETWEEN, LOW), tlsa(2, 0, 1, ROOT.der))
        is None
    )


async def test_an_anchor_that_is_not_shown_must_be_in_the_record(tmp_path: Path) -> None:
    context = serving(tmp_path, LEAF, LOW, BETWEEN)
    assert await dane(context, tlsa(2, 0, 0, ROOT.der)) is None
    failed = await dane(context, tlsa(2, 0, 1, ROOT.der))
    assert failed is not None
    assert failed.reply == "the certificate's chain matches no TLSA record"


async def test_a_gap_in_the_chain_is_none(tmp_path: Path) -> None:
    assert await dane(serving(tmp_path, LEAF, BETWEEN, ROOT), tlsa(2, 0, 1, ROOT.der)) is not None
    assert (
        await dane(serving(tmp_path, LEAF, BETWEEN, ROOT), tlsa(2, 0, 1, BETWEEN.der)) is not None
    )


async def test_one_of_several_certificates_of_an_issuer_will_do(tmp_path: Path) -> None:
    """The one that has expired comes first, and another that leads to a root nobody asked for."""
    elsewhere = issue("Elsewhere", authority=True)
    old = issue("Between", ROOT, key=BETWEEN.key, authority=True, days=-1)
    cross = issue("Between", elsewhere, key=BETWEEN.key, authority=True)
    for order in ((old, cross, BETWEEN), (cross, BETWEEN, old), (BETWEEN, old, cross)):
        assert (
            await dane(
                serving(tmp_path, LEAF, LOW, *order, elsewhere, ROOT), tlsa(2, 0, 1, ROOT.der)
            )
            is None
        )
    failed = await dane(serving(tmp_path, LEAF, LOW, old, ROOT), tlsa(2, 0, 1, ROOT.der))
    assert failed is not None
    assert "expired" in failed.reply


@pytest.mark.parametrize("case", ["expired", "no authority", "path length", "constraint"])
async def test_a_link_that_does_not_hold_breaks_the_chain(tmp_path: Path, case: str) -> None:
    nobody = x509.NameConstraints([x509.DNSName("elsewhere.test")], None)
    between = {
        "expired": lambda: issue("Between", ROOT, authority=True, days=-1),
        "no authority": lambda: issue("Between", ROOT),
        "path length": lambda: issue("Between", ROOT, authority=True, path_length=0),
        "constraint": lambda: issue("Between", ROOT, authority=True, critical=nobody),
    }[case]()
    low = issue("Low", between, authority=True)
    leaf = issue("leaf", low, names=(HOST,))
    assert (
        await dane(serving(tmp_path, leaf, low, between, ROOT), tlsa(2, 0, 1, ROOT.der)) is not None
    )


@pytest.mark.parametrize(
    ("leaf", "why"),
    [
        (issue("leaf", LOW, names=(HOST,), days=-1), "expired"),
        (issue("leaf", LOW, names=("other.test",)), "not for"),
        (issue("leaf", LOW), "no name"),
        (
            issue("leaf", LOW, names=(HOST,), usage=ExtendedKeyUsageOID.CLIENT_AUTH),
            "not for servers",
        ),
    ],
)
async def test_a_leaf_under_an_anchor_has_to_be_good_itself(
    tmp_path: Path, leaf: Issued, why: str
) -> None:
    context = serving(tmp_path, leaf, LOW, BETWEEN, ROOT)
    failed = await dane(context, tlsa(2, 0, 1, ROOT.der))
    assert failed is not None
    assert why in failed.reply
    # as the end of its own record it is good as it is (RFC 7672 §3.1.1)
    assert await dane(context, tlsa(2, 0, 1, ROOT.der), tlsa(3, 1, 1, leaf.spki)) is None


async def test_the_next_hop_domain_is_a_name_of_the_host_too(tmp_path: Path) -> None:
    leaf = issue("leaf", LOW, names=("scripted.test",))
    context = serving(tmp_path, leaf, LOW, BETWEEN, ROOT)
    assert await dane(context, tlsa(2, 0, 1, ROOT.der), names=(HOST, "scripted.test")) is None
    assert await dane(context, tlsa(2, 0, 1, ROOT.der), names=(HOST,)) is not None


async def test_an_end_certificate_alone_by_its_key_through_a_renewal(tmp_path: Path) -> None:
    old = issue("self", names=("anything.test",))
    renewed = issue("self", key=old.key, days=-1)
    record = tlsa(3, 1, 1, old.spki)
    assert await dane(serving(tmp_path, old), record) is None
    assert await dane(serving(tmp_path, renewed), record) is None
    assert await dane(serving(tmp_path, renewed), tlsa(3, 0, 1, old.der)) is not None


async def test_while_keys_are_changed_either_record_will_do(tmp_path: Path) -> None:
    old, new = issue("old"), issue("new")
    records = (tlsa(3, 1, 2, old.spki), tlsa(3, 1, 2, new.spki))
    assert await dane(serving(tmp_path, old), *records) is None
    assert await dane(serving(tmp_path, new), *records) is None
    failed = await dane(serving(tmp_path, issue("third")), *records)
    assert failed is not None
    assert failed.reply == "the certificate matches no TLSA record"


async def test_an_end_record_matches_no_issuer_and_an_anchor_no_end(tmp_path: Path) -> None:
    context = serving(tmp_path, LEAF, LOW, BETWEEN, ROOT)
    assert await dane(context, tlsa(3, 1, 1, ROOT.spki)) is not None
    assert await dane(context, tlsa(2, 1, 1, LEAF.spki)) is not None
