"""Automatic replies (RFC 3834): which messages get one, and the reply itself."""

from __future__ import annotations

from email import policy
from email.parser import BytesParser

import pytest

from posthorn.wire.message.auto_reply import (
    AutoReply,
    answers_to,
    compose,
    may_reply,
    message_id_in,
)

OWN = ("alice@example.test", "sales@example.test")
PLAIN = b"From: bob@b.test\r\nTo: Alice <Alice@Example.TEST>\r\nSubject: hi\r\n"


@pytest.mark.parametrize(
    "field",
    [
        b"",
        b"Auto-Submitted: no (really)\r\n",
        b"Precedence: first-class\r\n",
        b"Content-Type: text/plain; x=multipart/report\r\n",
        b"X-Auto-Response-Suppress: DR, RN\r\n",
        b"Subject: List-Id: x\r\n",
    ],
)
def test_a_message_of_a_person_gets_a_reply(field: bytes) -> None:
    assert may_reply(PLAIN + field + b"\r\nList-Id: <not.a.field>\r\n", OWN)


@pytest.mark.parametrize(
    "field",
    [
        b"Auto-Submitted: auto-generated\r\n",
        b"auto-submitted:\r\n auto-replied (vacation)\r\n",
        b"Precedence: Bulk\r\n",
        b"Precedence: list\r\n",
        b"List-Id: Some <list.b.test>\r\n",
        b"List-Unsubscribe: <https://b.test/>\r\n",
        b"X-Auto-Response-Suppress: DR, OOF\r\n",
        b"X-Auto-Response-Suppress: All\r\n",
        b"Content-Type: multipart/report; report-type=delivery-status\r\n",
        b"X-Failed-Recipients: x@y.test\r\n",
    ],
)
def test_lists_and_programs_get_none(field: bytes) -> None:
    assert not may_reply(PLAIN + field + b"\r\nbody\r\n", OWN)
    assert not may_reply(field + PLAIN + b"\r\nbody\r\n", OWN)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (b"To: alice@example.test\r\n", True),
        (b'Cc: x@y.test,\r\n\t"A, B" <sales@example.test>\r\n', True),
        (b"Resent-To: alice@example.test\r\n", True),
        (b"To: group: x@y.test, alice@example.test;\r\n", True),
        (b"To: malice@example.test, alice@example.test.evil.test\r\n", False),
        (b'To: "alice@example.test" <other@y.test>\r\n', False),
        (b"To: undisclosed-recipients:;\r\n", False),
        (b"", False),
        (b"X-To: alice@example.test\r\n", False),
    ],
)
def test_only_who_is_named_replies(fields: bytes, named: bool) -> None:
    assert (
        may_reply(b"From: bob@b.test\r\n" + fields + b"\r\nTo: alice@example.test\r\n", OWN)
        is named
    )


def test_senders_that_are_programs_get_none() -> None:
    for person in ("bob@b.test", "owner@b.test", "request@b.test", "norah.plyer@b.test"):
        assert answers_to(person), person
    for program in (
        *("", "MAILER-DAEMON@b.test", "owner-list@b.test", "list-request@b.test"),
        *("list-bounces@b.test", "noreply@b.test", "No-Reply+17@b.test", "donotreply@b.test"),
    ):
        assert not answers_to(program), program


def test_a_reply_refers_to_the_message_and_says_that_it_is_automatic() -> None:
    head = PLAIN + b"Message-ID:\r\n <a.b@b.test>\r\n\r\n"
    raw = compose(
        AutoReply(
            *("id-1", 0.0, "alice@example.test", "bob@b.test"),
            *("Zurück am Montag", "Guten Tag,\n\n.\nAlice " + "x" * 2000, message_id_in(head)),
        )
    )
    assert raw.isascii()
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    assert b"\n" not in raw.replace(b"\r\n", b"")
    message = BytesParser(policy=policy.SMTP).parsebytes(raw)
    assert (message["From"], message["To"]) == ("alice@example.test", "bob@b.test")
    assert message["Subject"] == "Zurück am Montag"
    assert message["In-Reply-To"] == message["References"] == "<a.b@b.test>"
    assert message["Message-ID"] == "<id-1@example.test>"
    assert message["Auto-Submitted"] == "auto-replied (vacation)"
    assert (
        message.get_content().replace("\r\n", "\n") == "Guten Tag,\n\n.\nAlice " + "x" * 2000 + "\n"
    )
    assert not may_reply(raw, ("bob@b.test",)), "no reply to a reply"
    assert message_id_in(b"Message-ID: none\r\n\r\n") == ""
