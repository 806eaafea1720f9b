"""Traces of messages through the whole system, as a receiver of OTLP gets them."""

from __future__ import annotations

import imaplib
import re
import smtplib
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from posthorn.runtime import traces
from tests.support.sink import Sink
from tests.support.system import System, await_that
from tests.support.trace_receiver import ReceivedSpan, TraceReceiver, receiving

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def receiver() -> Iterator[TraceReceiver]:
    with receiving() as found:
        yield found


@pytest.fixture(scope="module")
def traced(receiver: TraceReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Local mode that traces every message, and retries soon."""
    settings = {
        "POSTHORN_OTLP_ENDPOINT": receiver.endpoint,
        "POSTHORN_TRACE_RATIO": "1",
        "OTEL_BSP_SCHEDULE_DELAY": "500",
        "POSTHORN_TRACE_URL": "https://traces.example.test/trace/{trace_id}",
        "POSTHORN_RELAY_RETRY_FIRST_SECONDS": "1",
        "POSTHORN_RELAY_RETRY_JITTER": "0",
    }
    system = System(tmp_path_factory.mktemp("traces") / "home", settings)
    system.start()
    yield system
    system.close()


def whole(receiver: TraceReceiver, message: UUID, *names: str) -> list[ReceivedSpan]:
    """The spans of a message, once those named have come, in the order they began."""

    def found() -> list[ReceivedSpan]:
        spans = receiver.of(message.int)
        return spans if sorted(each.name for each in spans) == sorted(names) else []

    return await_that(f"spans {names} of {message}", found)


SCANNED = ("scan", "authenticate", "rules")


def test_a_message_in_is_one_trace_until_it_is_read(
    traced: System, receiver: TraceReceiver
) -> None:
    drop = traced.make_account("trace-in@example.test")
    with traced.smtp() as client:
        client.ehlo()
        client.mail("secret-sender@far.test")
        client.rcpt(drop.address)
        code, reply = client.data(b"From: a@far.test\r\nSubject: secret words\r\n\r\nHello\r\n")
    assert code == 250
    (message,) = map(UUID, _ID.findall(reply.decode()))
    drop.await_mail(1)
    with imaplib.IMAP4("127.0.0.1", traced.ports["IMAP"], timeout=30) as reader:
        reader.login(drop.address, drop.password)
        reader.select("INBOX", readonly=True)
        reader.fetch("1", "(BODY.PEEK[])")
    spans = whole(receiver, message, "receive", *SCANNED, "publish", "put", "place", "read", "read")
    assert [(each.service, each.attributes[traces.ROLE]) for each in spans[-2:]] == [
        ("posthorn-pop3", "pop3"),
        ("posthorn-imap", "imap"),
    ]
    by_name = {each.name: each for each in spans}
    root = by_name["receive"]
    assert (root.service, root.parent) == ("posthorn-smtp-in", 0)
    assert root.span == traces.root_span_of(message)
    assert {each.parent for each in spans if each is not root} == {root.span}
    assert by_name["publish"].service == "posthorn-smtp-in"
    assert {by_name[name].service for name in ("put", "place")} == {"posthorn-delivery"}
    assert root.began <= by_name["publish"].began <= by_name["publish"].ended <= root.ended
    scan = by_name["scan"]
    assert {by_name[name].service for name in SCANNED} == {"posthorn-scan"}
    assert scan.attributes[traces.IS_COMPLETE] is True
    for part in (by_name["authenticate"], by_name["rules"]):
        assert root.began <= scan.began <= part.began <= part.ended <= scan.ended <= root.ended
    assert root.attributes[traces.SENDER_DOMAIN] == "far.test"
    assert root.attributes[traces.RECIPIENT_DOMAINS] == ["example.test"]
    assert by_name["place"].attributes[traces.MAILBOXES] == 1
    assert not any(
        secret in body for body in receiver.raw for secret in (b"secret", b"trace-in", b"Hello")
    )


def test_attempts_of_a_submitted_message_are_one_trace_with_their_retries(
    traced: System, receiver: TraceReceiver
) -> None:
    refusals = {"later": "450 4.2.1 come back later"}
    sink = Sink(refusals)
    sink.start()
    try:
        route = {"domain": "sink.test", "host": "127.0.0.1", "port": sink.port}
        assert traced.api.post("/v1/routes", json=route).status_code == 201
        account = traced.make_account("trace-out@example.test")
        with smtplib.SMTP("localhost", traced.ports["SUBMISSION"], timeout=30) as client:
            client.starttls(context=traced.trusting())
            client.login(account.address, account.password)
            client.mail(account.address)
            client.rcpt("later@sink.test")
            code, reply = client.data(
                f"From: {account.address}\r\nSubject: x\r\n\r\nHello\r\n".encode()
            )
        assert code == 250
        (message,) = map(UUID, _ID.findall(reply.decode()))
        await_that("refused once", lambda: sink.attempts)
        refusals.clear()
        await_that("taken", lambda: sink.taken_by("later@sink.test"))
        spans = whole(receiver, message, "receive", "publish", "put", "place", "attempt", "attempt")
    finally:
        sink.stop()
    root = next(each for each in spans if each.name == "receive")
    assert root.service == "posthorn-submission"
    assert {each.parent for each in spans if each is not root} == {root.span}
    first, second = (each for each in spans if each.name == "attempt")
    assert {first.service, second.service} == {"posthorn-relay"}
    assert first.is_error and first.attributes[traces.REPLY_CODE] == 450
    assert not second.is_error and second.attributes[traces.REPLY_CODE] == 250
    assert (first.attributes[traces.TRIES], second.attributes[traces.TRIES]) == (1, 2)
    assert second.attributes[traces.NEXT_HOP] == "127.0.0.1"
    assert second.attributes[traces.DESTINATION] == "sink.test"


def test_a_message_of_a_program_is_one_trace_from_its_request_on(
    traced: System, receiver: TraceReceiver
) -> None:
    drop = traced.make_account("trace-sent@example.test")
    document = {
        "from": drop.address,
        "to": [drop.address],
        "subject": "x",
        "text": "long " * 200_000,
    }
    answer = traced.api.post("/v1/send", json=document)
    assert answer.status_code == 202, answer.text
    message = UUID(answer.json()["id"])
    spans = whole(receiver, message, "receive", "put", "publish", "place")
    assert {each.name: each.service for each in spans} == {
        "receive": "posthorn-api",
        "put": "posthorn-api",
        "publish": "posthorn-api",
        "place": "posthorn-delivery",
    }
    assert spans[0].name == "receive" and spans[0].span == traces.root_span_of(message)
    seen = await_that("events", lambda: _trace_of(traced, message))
    assert seen["trace_url"] == f"https://traces.example.test/trace/{message.hex}"


def _trace_of(system: System, message: UUID) -> dict[str, Any]:
    answer = system.api.get(f"/v1/messages/{message}/trace")
    found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
    return found


def test_requests_to_the_api_are_traced_by_their_routes(
    traced: System, receiver: TraceReceiver
) -> None:
    traced.make_account("trace-api@example.test")
    assert traced.api.get("/v1/accounts/trace-api@example.test").status_code == 200

    def found() -> list[ReceivedSpan]:
        return [
            each
            for each in receiver.spans
            if each.attributes.get("http.route") == "/v1/accounts/{address}"
        ]

    (span,) = await_that("a span of the request", found)
    assert span.service == "posthorn-api"
    assert span.attributes["http.response.status_code"] == 200
    assert not any(b"trace-api" in body for body in receiver.raw)


def test_logins_are_traces_of_their_own(traced: System, receiver: TraceReceiver) -> None:
    drop = traced.make_account("trace-login@example.test")
    drop.count()
    with imaplib.IMAP4("127.0.0.1", traced.ports["IMAP"], timeout=30) as reader:
        reader.login(drop.address, drop.password)
        with pytest.raises(imaplib.IMAP4.error):
            imaplib.IMAP4("127.0.0.1", traced.ports["IMAP"]).login(drop.address, "wrong")

    def logins() -> set[tuple[str, str]]:
        return {
            (each.service, each.attributes[traces.RESULT])
            for each in receiver.spans
            if each.name == "login" and each.parent == 0
        }

    expected = {
        ("posthorn-pop3", "accepted"),
        ("posthorn-imap", "accepted"),
        ("posthorn-imap", "wrong"),
    }
    await_that("logins", lambda: expected <= logins())
    assert not any(b"trace-login" in body for body in receiver.raw)
