"""Messages out: a mail client hands mail in, another server takes it or refuses it, and the
sender is told."""

from __future__ import annotations

import email
import email.policy
import smtplib
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from typing import Any

import aiosmtplib
import dkim
import pytest

from tests.support.maildrop import Maildrop
from tests.support.sink import Sink
from tests.support.system import System, await_that

type NewAccount = Callable[[], Maildrop]


@pytest.fixture(scope="module")
def sink(system: System) -> Iterator[Sink]:
    """A server elsewhere, and the route of sink.test to it."""
    server = Sink({"nobody": "550 5.1.1 no such user here", "later": "450 4.2.1 come back later"})
    server.start()
    route = {
        "domain": "sink.test",
        "host": "127.0.0.1",
        "port": server.port,
        "tls": "opportunistic",
    }
    answer = system.api.post("/v1/routes", json=route)
    assert answer.status_code == 201, answer.text
    yield server
    server.stop()
    assert system.api.delete("/v1/routes/sink.test").status_code == 204


def make_message(sender: str, *recipients: str, subject: str = "A message out") -> EmailMessage:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = subject
    message.set_content("Dear reader,\n.\nyours\n")
    return message


def submit(
    system: System, account: Maildrop, message: EmailMessage, **options: Any
) -> dict[str, tuple[int, bytes]]:
    """Hand a message in as a mail client does: 587, STARTTLS, a password."""
    with smtplib.SMTP("localhost", system.ports["SUBMISSION"], timeout=30) as client:
        client.starttls(context=system.trusting())
        client.login(account.address, account.password)
        return client.send_message(message, **options)


def queue(system: System, **filters: str) -> list[dict[str, Any]]:
    answer = system.api.get("/v1/queue", params=filters)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def await_item(system: System, state: str, **filters: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        return next((item for item in queue(system, **filters) if item["state"] == state), None)

    return await_that(f"{filters} is {state}", found, 30)


def test_a_message_reaches_an_account_here_and_a_server_elsewhere(
    system: System, sink: Sink, new_account: NewAccount
) -> None:
    alice, bob = new_account(), new_account()
    message = make_message(alice.address, bob.address, "Reader.One@sink.test")
    message["Bcc"] = "hidden@sink.test"
    assert submit(system, alice, message) == {}
    (local,) = bob.await_mail(1)
    (taken,) = await_that("taken", lambda: sink.taken_by("Reader.One@sink.test"))
    assert taken.reverse_path == alice.address
    assert sorted(taken.recipients) == ["Reader.One@sink.test", "hidden@sink.test"], (
        "one transaction, case as written"
    )
    for octets in (local, taken.content):
        read = email.message_from_bytes(octets, policy=email.policy.default)
        assert read["Message-ID"] and read["Date"] and read["Bcc"] is None
        assert "127.0.0.1" not in " ".join(read.get_all("Received") or [])
        assert read.get_content().split() == ["Dear", "reader,", ".", "yours"]
    assert not taken.content.lower().startswith(b"return-path:")
    item = await_item(system, "delivered", recipient="Reader.One@sink.test")
    assert item["last_reply"].startswith("250")

    def counted() -> bool:
        route = system.api.get("/v1/routes/sink.test").json()
        return bool(route["last_hour"]["delivered"] >= 2)

    await_that("the route's attempts are counted", counted)


async def test_aiosmtplib_submits_over_tls_from_the_first_octet(
    system: System, sink: Sink, new_account: NewAccount
) -> None:
    account = new_account()
    await aiosmtplib.send(
        make_message(account.address, "tls@sink.test"),
        hostname="localhost",
        port=system.ports["SUBMISSIONS"],
        use_tls=True,
        tls_context=system.trusting(),
        username=account.address,
        password=account.password,
    )
    await_that("taken", lambda: sink.taken_by("tls@sink.test"))


def test_a_stranger_cannot_submit_and_an_account_cannot_lie(
    system: System, new_account: NewAccount
) -> None:
    alice, bob = new_account(), new_account()
    with smtplib.SMTP("localhost", system.ports["SUBMISSION"], timeout=30) as client:
        with pytest.raises(smtplib.SMTPSenderRefused) as refused:
            client.sendmail(alice.address, ["x@sink.test"], b"Subject: x\r\n\r\nx\r\n")
        assert refused.value.smtp_code == 530
        client.starttls(context=system.trusting())
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login(alice.address, "a wrong password")
    with pytest.raises(smtplib.SMTPSenderRefused) as lied:
        submit(system, alice, make_message(alice.address, "x@sink.test"), from_addr=bob.address)
    assert lied.value.smtp_code == 550
    with pytest.raises(smtplib.SMTPDataError) as spoofed:
        submit(system, alice, make_message(bob.address, "x@sink.test"), from_addr=alice.address)
    assert spoofed.value.smtp_code == 550


def test_a_refused_message_comes_back_as_a_bounce_that_can_be_read(
    system: System, sink: Sink, new_account: NewAccount
) -> None:
    alice = new_account()
    submit(
        system,
        alice,
        make_message(alice.address, "nobody@sink.test", "someone@sink.test", subject="Will bounce"),
    )
    (octets,) = alice.await_mail(1, 30)
    bounce = email.message_from_bytes(octets, policy=email.policy.default)
    assert octets.startswith(b"Return-Path: <>\r\n")
    assert bounce.get_content_type() == "multipart/report"
    assert bounce["Auto-Submitted"] == "auto-replied"
    human, status, original = bounce.iter_parts()
    assert "nobody@sink.test" in human.get_content() and "no such user here" in human.get_content()
    assert "someone@sink.test" not in human.get_content()
    per_recipient = list(status.get_payload())[1]
    assert per_recipient["Action"] == "failed"
    assert per_recipient["Status"] == "5.1.1"
    assert "Will bounce" in original.as_string()
    assert len(sink.taken_by("someone@sink.test")) == 1
    suppressed = system.api.get("/v1/suppressions").json()["items"]
    assert "nobody@sink.test" in [entry["address"] for entry in suppressed]
    assert system.api.delete("/v1/suppressions/nobody@sink.test").status_code == 204


def test_the_queue_is_searched_held_retried_and_cancelled(
    system: System, sink: Sink, new_account: NewAccount
) -> None:
    alice = new_account()
    submit(system, alice, make_message(alice.address, "later@sink.test"))
    item = await_item(system, "deferred", sender=alice.address)
    assert item["last_reply"].startswith("450 4.2.1")
    assert queue(system, domain="sink.test", state="deferred", recipient="later@sink.test")
    path = f"/v1/queue/{item['id']}"
    tried = len([one for one in sink.attempts if one == "later@sink.test"])
    assert system.api.post(f"{path}/retry").status_code == 200
    await_that(
        "tried again",
        lambda: len([one for one in sink.attempts if one == "later@sink.test"]) > tried,
    )
    await_item(system, "deferred", sender=alice.address)
    assert system.api.post(f"{path}/hold").json()["state"] == "held"
    assert system.api.post(f"{path}/retry").status_code == 409
    tried = len([one for one in sink.attempts if one == "later@sink.test"])
    assert system.api.post(f"{path}/release").status_code == 200
    await_that(
        "tried again",
        lambda: len([one for one in sink.attempts if one == "later@sink.test"]) > tried,
    )
    await_that("put off", lambda: system.api.get(path).json()["attempts"] >= 3)
    assert system.api.delete(path).status_code == 204
    assert queue(system, sender=alice.address)[0]["state"] == "cancelled"


def test_mail_without_a_route_waits_and_says_why(system: System, new_account: NewAccount) -> None:
    alice = new_account()
    submit(system, alice, make_message(alice.address, "someone@nowhere.example"))
    item = await_item(system, "deferred", sender=alice.address)
    assert "no route" in item["last_reply"] and "nowhere.example" in item["last_reply"]
    assert system.api.delete(f"/v1/queue/{item['id']}").status_code == 204


def test_the_api_sends_and_the_trace_tells_the_way(
    system: System, sink: Sink, new_account: NewAccount
) -> None:
    alice = new_account()
    document = {
        "from": alice.address,
        "to": ["traced@sink.test"],
        "subject": "By the API",
        "text": "Grüße\n",
        "attachments": [{"filename": "a.txt", "content_type": "text/plain", "content": "aGVsbG8="}],
    }
    answer = system.api.post(
        "/v1/send",
        json=document,
        headers={"Idempotency-Key": f"send {alice.address}".replace(" ", "-")},
    )
    assert answer.status_code == 202, answer.text
    again = system.api.post(
        "/v1/send",
        json=document,
        headers={"Idempotency-Key": f"send {alice.address}".replace(" ", "-")},
    )
    assert again.json() == answer.json()
    (taken,) = await_that("taken", lambda: sink.taken_by("traced@sink.test"))
    assert b"filename" in taken.content
    trace = answer.headers["location"]

    def kinds() -> list[str]:
        found = system.api.get(trace)
        return (
            [event["kind"] for event in found.json()["items"]] if found.status_code == 200 else []
        )

    await_that("traced", lambda: {"accepted", "queued", "delivered"} <= set(kinds()))
    assert kinds().index("accepted") < kinds().index("delivered")
    assert len(sink.taken_by("traced@sink.test")) == 1


def test_messages_out_are_signed_once_the_domain_has_keys(
    system: System, sink: Sink, new_account: NewAccount
) -> None:
    alice = new_account()
    answer = system.api.post("/v1/domains/example.test/dkim/rotate", json={})
    assert answer.status_code == 201, answer.text
    listed = system.api.get("/v1/domains/example.test/dkim").json()["keys"]
    records = {key["dns"]["name"].encode() + b".": key["dns"]["value"].encode() for key in listed}
    assert {key["algorithm"] for key in listed} == {"rsa", "ed25519"}

    def signed() -> bytes | None:
        submit(system, alice, make_message(alice.address, "signed@sink.test"))
        count = len(sink.taken_by("signed@sink.test"))
        taken = await_that("taken", lambda: sink.taken_by("signed@sink.test")[count - 1 :])[-1]
        return taken.content if b"DKIM-Signature" in taken.content else None

    content = await_that("signed", signed, 40, pause=1.0)
    assert content.lower().count(b"dkim-signature:") == 2
    verifier = dkim.DKIM(content)
    for index in range(2):
        assert verifier.verify(index, dnsfunc=lambda name, **_: records[name.rstrip(b".") + b"."])


def test_an_alias_forwards_out_and_its_bounce_finds_the_way_back(
    system: System, sink: Sink, new_account: NewAccount
) -> None:
    alice = new_account()
    alias = f"forward.{alice.address}"
    answer = system.api.post(
        "/v1/aliases", json={"address": alias, "targets": ["friend@sink.test"]}
    )
    assert answer.status_code == 201, answer.text
    system.send(
        b"From: a@example.org\r\nSubject: f\r\n\r\nforward me\r\n",
        alias,
        sender="Some.One@sink.test",
    )
    (taken,) = await_that("forwarded", lambda: sink.taken_by("friend@sink.test"))
    assert taken.reverse_path.lower().startswith("srs0=") and taken.reverse_path.endswith(
        "@example.test"
    )
    with system.smtp() as session:
        session.ehlo()
        session.mail("")
        assert session.rcpt(taken.reverse_path)[0] == 250
        assert session.rcpt(taken.reverse_path.replace("=", "=x", 1))[0] == 550
        assert session.data(b"Subject: bounce\r\n\r\nbuy this\r\n")[0] == 550
        session.mail("")
        assert session.rcpt(taken.reverse_path)[0] == 250
        report = b"Content-Type: multipart/report; boundary=x\r\nSubject: bounce\r\n\r\nno such friend\r\n"
        assert session.data(report)[0] == 250
    (returned,) = await_that("returned", lambda: sink.taken_by("Some.One@sink.test"))
    assert returned.reverse_path in ("", "<>")
