"""The scanning tier in the running system: what the header, the trace and the replies tell, and
that mail goes on while the tier is gone."""

from __future__ import annotations

import smtplib
from collections.abc import Callable

from tests.e2e.trace import split_trace
from tests.support.maildrop import Maildrop
from tests.support.system import System, await_that

MESSAGE = b"""From: Ann <ann@sender.example>
To: reader@example.test
Subject: Scanned
Date: Sun, 29 Nov 2026 11:00:00 +0000
Message-ID: <1@sender.example>

Dear reader
""".replace(b"\n", b"\r\n")
GTUBE = MESSAGE + b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n"

type NewAccount = Callable[[], Maildrop]


def kinds(system: System, message: str) -> list[str]:
    found = system.api.get(f"/v1/messages/{message}/trace")
    return [each["kind"] for each in found.json()["items"]] if found.is_success else []


def refused(system: System, octets: bytes, *recipients: str) -> str | None:
    """Return the reply that refuses a message; None if it was accepted."""
    try:
        system.send(octets, *recipients)
    except smtplib.SMTPDataError as refusal:
        text = refusal.smtp_error
        return f"{refusal.smtp_code} {text.decode() if isinstance(text, bytes) else text}"
    return None


def marked(system: System, drop: Maildrop) -> bool:
    """Return whether GTUBE arrives in INBOX, told to be spam."""
    before = drop.count()
    system.send(GTUBE, drop.address)
    return any(
        b"\r\nX-Posthorn-Verdict: spam; score=" in each for each in drop.await_mail(before + 1)
    )


def set_policy(system: System, drop: Maildrop, **policy: object) -> None:
    answer = system.api.put(f"/v1/accounts/{drop.address}/filter-policy", json=policy)
    assert answer.is_success, answer.text


def test_a_message_arrives_with_its_results_and_its_trace(system: System, drop: Maildrop) -> None:
    forged = b"X-Posthorn-Verdict: deliver; score=-100\r\n"
    system.send(forged + MESSAGE, drop.address)
    (stored,) = drop.await_mail(1)
    _, received, message = split_trace(stored)
    assert message == MESSAGE
    head = stored.partition(b"\r\n\r\n")[0]
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in b"\t "]
    assert names[:4] == [
        b"Return-Path",
        b"Authentication-Results",
        b"X-Posthorn-Verdict",
        b"Received",
    ]
    assert b"\r\nX-Posthorn-Verdict: deliver; score=" in head
    assert b"dkim=none" in head
    number = received.partition("\tid ")[2].split()[0].rstrip(";")
    await_that(
        "the whole trace",
        lambda: {"accepted", "scanned", "delivered"} <= set(kinds(system, number)),
    )


def test_gtube_is_told_and_is_refused_where_every_recipient_s_policy_says_so(
    system: System, new_account: NewAccount
) -> None:
    strict, lenient = new_account(), new_account()
    for each in (strict, lenient):
        set_policy(system, each, spam_action="mark")
    await_that("a mark", lambda: marked(system, lenient))
    set_policy(system, strict, spam_action="mark", refuse_score=8)
    reply = await_that("a refusal", lambda: refused(system, GTUBE, strict.address))
    assert reply.startswith("550 5.7.1 the message looks like spam: ")
    assert "GTUBE" in reply
    number = reply.rpartition(" ")[2]
    await_that("the refusal's event", lambda: kinds(system, number).count("refused") == 1)
    # whom one recipient's policy lets in is accepted for all
    lenient.empty()
    assert refused(system, GTUBE, strict.address, lenient.address) is None
    lenient.await_mail(1)


def test_mail_goes_on_without_the_tier_and_is_scanned_when_it_is_back(
    system: System, drop: Maildrop
) -> None:
    system.parts()["scan"].kill()
    for number in range(3):
        system.send(MESSAGE.replace(b"Scanned", b"While gone %d" % number), drop.address)
    found = drop.await_mail(3, timeout=60)
    assert all(split_trace(each)[2].endswith(b"Dear reader\r\n") for each in found)
    assert all(b"X-Posthorn-Verdict: " in each for each in found)
    system.await_whole()
