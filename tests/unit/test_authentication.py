"""All checks of sender authentication on one message, on a DNS of our own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from posthorn.adapters.signature_check import CryptographySignatureCheck
from posthorn.wire.auth.authentication import BodyHashes, authenticate, split_message
from posthorn.wire.auth.lookup import DnsUnavailable
from posthorn.wire.auth.results import Authentication, Iprev, Outcome, Policy, Spf
from posthorn.wire.auth.waiting import in_turn
from tests.support.signing import (
    BODY,
    DOMAIN,
    HEADER,
    NOW,
    arc_set,
    record,
    rsa_key,
    signature_field,
)
from tests.support.zone_lookup import ZoneLookup

CLIENT = "192.0.2.1"
ZONE = {
    "1.2.0.192.in-addr.arpa": [("PTR", "mail.example.org")],
    "mail.example.org": [("A", CLIENT), ("TXT", "v=spf1 a -all")],
    DOMAIN: [("TXT", "v=spf1 ip4:192.0.2.0/24 -all")],
    f"_dmarc.{DOMAIN}": [("TXT", "v=DMARC1; p=reject")],
    f"rsa._domainkey.{DOMAIN}": [("TXT", record(rsa_key()).decode())],
    "rsa._domainkey.lists.test": [("TXT", record(rsa_key()).decode())],
}
SIGNED = signature_field("DKIM-Signature", HEADER, BODY) + HEADER + b"\r\n" + BODY


async def judge(
    message: bytes,
    lookup: ZoneLookup,
    *,
    client: str = CLIENT,
    reverse_path: str = f"alice@{DOMAIN}",
    piece: int = 1 << 20,
    at_once: bool = True,
    iprev: Iprev | None = None,
    spf: tuple[Spf, ...] | None = None,
) -> Authentication:
    header, body = split_message(message)
    hashes = BodyHashes.of(header)
    for start in range(0, len(body), piece):
        hashes.update(body[start : start + piece])
    return await authenticate(
        lookup,
        CryptographySignatureCheck(),
        header=header,
        hashes=hashes,
        client=client,
        helo="mail.example.org",
        reverse_path=reverse_path,
        hostname="mx.example.net",
        now=NOW,
        iprev=iprev,
        spf=spf,
        gather=asyncio.gather if at_once else in_turn,
    )


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
async def test_a_message_of_its_author_passes_everything(piece: int, *, at_once: bool) -> None:
    found = await judge(SIGNED, ZoneLookup(ZONE), piece=piece, at_once=at_once)
    assert found.iprev == Iprev(Outcome.PASS, "mail.example.org")
    assert [(each.identity, each.outcome) for each in found.spf] == [
        ("helo", Outcome.PASS),
        ("mailfrom", Outcome.PASS),
    ]
    assert [each.outcome for each in found.dkim] == [Outcome.PASS]
    assert (found.dmarc.outcome, found.dmarc.dkim_aligned) == (Outcome.PASS, True)
    assert found.arc.outcome is Outcome.NONE
    assert found.author == DOMAIN


async def test_a_forged_message_fails_and_its_policy_applies() -> None:
    found = await judge(
        HEADER + b"\r\n" + BODY,
        ZoneLookup(ZONE),
        client="198.51.100.9",
        reverse_path="eve@evil.test",
    )
    assert found.dkim == ()
    assert (found.dmarc.outcome, found.dmarc.applied) == (Outcome.FAIL, Policy.REJECT)
    assert found.author == ""


async def test_a_list_that_seals_what_it_changed_leaves_its_word() -> None:
    header = signature_field("DKIM-Signature", HEADER, BODY) + HEADER
    changed = header.replace(b"Subject: A", b"Subject: [list] A")
    message = (
        arc_set(1, changed, seal={"d": "lists.test"}, ams={"d": "lists.test"}) + b"\r\n" + BODY
    )
    found = await judge(message, ZoneLookup(ZONE), reverse_path="list@lists.test")
    assert [each.outcome for each in found.dkim] == [Outcome.FAIL]
    assert found.dmarc.outcome is Outcome.FAIL
    assert (found.arc.outcome, found.arc.sealers) == (Outcome.PASS, ("lists.test",))
    assert found.arc.results.startswith("lists.example.org; spf=pass")


async def test_what_is_known_is_not_asked_again() -> None:
    lookup = ZoneLookup(ZONE)
    known = Iprev(Outcome.FAIL), (Spf(Outcome.PASS, "mailfrom", DOMAIN),)
    found = await judge(SIGNED, lookup, iprev=known[0], spf=known[1])
    assert (found.iprev, found.spf) == known
    assert {kind for _, kind in lookup.asked} == {"TXT"}
    names = [name for name, _ in lookup.asked]
    assert f"rsa._domainkey.{DOMAIN}" in names and DOMAIN not in names


async def test_a_resolver_that_is_away_is_nobodys_fault() -> None:
    lookup = ZoneLookup({name: [("TIMEOUT",)] for name in ZONE})
    found = await judge(SIGNED, lookup)
    outcomes = {found.iprev.outcome, found.dmarc.outcome}
    outcomes |= {each.outcome for each in found.spf} | {each.outcome for each in found.dkim}
    assert outcomes == {Outcome.TEMPERROR}
    assert found.dmarc.applied in (None, Policy.NONE)
    assert found.author == ""


class Slow(ZoneLookup):
    """Answers nothing of evil.test, and once it was asked for nothing else any more."""

    async def texts(self, name: str) -> Sequence[bytes] | None:
        found = super().texts(name)
        if name.endswith("evil.test"):
            await asyncio.sleep(0.01)
            self._zone = {each: [("TIMEOUT",)] for each in self._zone}
            found.close()
            raise DnsUnavailable
        return await found


async def test_slow_keys_of_a_forger_do_not_hide_the_policy_of_the_author() -> None:
    forged = arc_set(1, HEADER, seal={"d": "evil.test"}, ams={"d": "evil.test"}) + HEADER
    signed = signature_field("DKIM-Signature", HEADER, BODY, {"d": "evil.test"}) + forged
    found = await judge(
        signed + b"\r\n" + BODY,
        Slow(ZONE),
        iprev=Iprev(),
        spf=(Spf(Outcome.TEMPERROR, "mailfrom", "evil.test"),),
    )
    assert [each.outcome for each in found.dkim] == [Outcome.TEMPERROR]
    assert (found.arc.outcome, set(found.arc.sealers)) == (Outcome.TEMPERROR, {"evil.test"})
    assert (found.dmarc.outcome, found.dmarc.applied) == (Outcome.FAIL, Policy.REJECT)


@pytest.mark.parametrize("message", [b"", b"\r\n", b"\r\n\r\nx", b"x", b"\xff\0:\r\n\r\n", BODY])
async def test_no_message_raises(message: bytes) -> None:
    found = await judge(message, ZoneLookup(ZONE))
    assert replace(found, iprev=Iprev(), spf=()) == replace(Authentication(), dmarc=found.dmarc)
    assert found.dmarc.outcome is Outcome.NONE
