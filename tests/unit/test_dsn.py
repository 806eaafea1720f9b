"""Reports, read as a mail program reads them."""

from __future__ import annotations

import base64
import email
import email.policy
from dataclasses import replace
from email.message import EmailMessage, Message
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.message.dsn import (
    FULL_LIMIT,
    HEADER_LIMIT,
    Action,
    RecipientStatus,
    Report,
    compose,
)

ORIGINAL = (
    b"Received: by mail.example.test id 1\r\nFrom: Alice <alice@example.test>\r\nTo: bob@elsewhere.test\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= to you\r\nMessage-ID: <1234@example.test>\r\n\r\nsecret body\r\n.dots\r\n"
)
STATUS = RecipientStatus(
    "bob@elsewhere.test",
    Action.FAILED,
    "5.1.1",
    "550 5.1.1 no such user here",
    "mx.elsewhere.test (192.0.2.1)",
    orcpt="rfc822;Bob@elsewhere.test",
    last_attempt_at=1_700_000_100.0,
    retry_until=1_700_432_000.0,
)
REPORT = Report(
    identity="0190c0de-0000-7000-8000-000000000001",
    at=1_700_000_200.0,
    host="mail.example.test",
    postmaster="MAILER-DAEMON@mail.example.test",
    sender="alice@example.test",
    arrived_at=1_700_000_000.0,
    recipients=[STATUS],
    original=ORIGINAL,
    envid="QQ314159",
)


def read(report: Report) -> EmailMessage:
    octets = compose(report)
    assert octets.endswith(b"\r\n")
    assert b"\n" not in octets.replace(b"\r\n", b"") and b"\r" not in octets.replace(b"\r\n", b"")
    assert all(len(line) <= 998 for line in octets.split(b"\r\n"))
    message = email.message_from_bytes(octets, policy=email.policy.default)
    assert not message.defects
    for part in message.walk():
        assert not part.defects, part.as_string()
    return message


def status_of(message: EmailMessage) -> list[Message]:
    status = list(message.iter_parts())[1]
    return cast(list[Message], status.get_payload())


def test_a_bounce_is_a_report_in_three_parts_for_people_and_programs() -> None:
    bounce = read(REPORT)
    assert bounce.get_content_type() == "multipart/report"
    assert bounce.get_param("report-type") == "delivery-status"
    assert (
        bounce["To"] == "alice@example.test" and "MAILER-DAEMON@mail.example.test" in bounce["From"]
    )
    assert bounce["Auto-Submitted"] == "auto-replied"
    assert bounce["Message-ID"] == "<0190c0de-0000-7000-8000-000000000001@mail.example.test>"
    assert bounce["In-Reply-To"] == bounce["References"] == "<1234@example.test>"
    assert bounce["Date"] and bounce["Subject"] == "Your message could not be delivered"
    human, status, original = bounce.iter_parts()
    text = human.get_content()
    for said in (
        "bob@elsewhere.test",
        "550 5.1.1 no such user here",
        "Grüße to you",
        "mx.elsewhere.test (192.0.2.1)",
    ):
        assert said in text
    assert "no such mailbox" in text
    assert status.get_content_type() == "message/delivery-status"
    assert original.get_content_type() == "text/rfc822-headers"
    assert "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= to you" in original.get_content()
    assert "secret body" not in compose(REPORT).decode()


def test_programs_read_what_became_of_each_recipient() -> None:
    other = replace(
        STATUS, address="carol@elsewhere.test", status="5.2.2", reply="552 5.2.2 full", orcpt=""
    )
    whole, *each = status_of(read(replace(REPORT, recipients=[STATUS, other])))
    assert whole["Reporting-MTA"] == "dns; mail.example.test"
    assert whole["Original-Envelope-Id"] == "QQ314159"
    assert whole["Arrival-Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"
    assert [one["Final-Recipient"] for one in each] == [
        "rfc822;bob@elsewhere.test",
        "rfc822;carol@elsewhere.test",
    ]
    assert [one["Original-Recipient"] for one in each] == ["rfc822;Bob@elsewhere.test", None]
    assert [one["Status"] for one in each] == ["5.1.1", "5.2.2"]
    assert each[0]["Action"] == "failed"
    assert each[0]["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user here"
    assert each[0]["Remote-MTA"] == "dns; mx.elsewhere.test (192.0.2.1)"
    assert each[0]["Last-Attempt-Date"] == "Tue, 14 Nov 2023 22:15:00 +0000"
    assert each[0]["Will-Retry-Until"] is None


def test_a_delay_says_how_long_it_is_tried_and_counts_as_transient() -> None:
    recipient = replace(
        STATUS,
        action=Action.DELAYED,
        status="4.4.1",
        reply="connecting to port 25: Connection refused",
    )
    notice = read(replace(REPORT, recipients=[recipient]))
    assert notice["Subject"] == "Your message is delayed"
    one = status_of(notice)[1]
    assert (one["Action"], one["Status"]) == ("delayed", "4.4.1")
    assert one["Diagnostic-Code"] == "x-posthorn; connecting to port 25: Connection refused"
    assert one["Will-Retry-Until"] == "Sun, 19 Nov 2023 22:13:20 +0000"
    human = next(iter(notice.iter_parts())).get_content()
    assert "need not do anything" in human and "19 Nov 2023" in human


@pytest.mark.parametrize(
    ("action", "status", "shown"),
    [
        (Action.FAILED, "", "5.0.0"),
        (Action.FAILED, "4.4.7", "4.4.7"),
        (Action.FAILED, "2.0.0", "5.0.0"),
        (Action.DELAYED, "5.1.1", "4.0.0"),
        (Action.RELAYED, "", "2.0.0"),
        (Action.DELIVERED, "2.1.5", "2.1.5"),
        (Action.EXPANDED, "4.x", "2.0.0"),
        (Action.FAILED, "5.1.1\r\nX: y", "5.0.0"),
    ],
)
def test_the_status_is_one_that_fits_the_action(action: Action, status: str, shown: str) -> None:
    assert (
        status_of(
            read(replace(REPORT, recipients=[replace(STATUS, action=action, status=status)]))
        )[1]["Status"]
        == shown
    )


def test_the_sender_of_a_forwarded_message_learns_nothing_of_its_target() -> None:
    recipient = RecipientStatus(
        "team@example.test",
        Action.FAILED,
        "5.1.1",
        "550 5.1.1 <Private.Person@hidden.test>: unknown at mx1.hidden.test",
        "mx1.hidden.test (192.0.2.9)",
        forwarded_to="private.person@hidden.test",
    )
    octets = compose(replace(REPORT, recipients=[recipient]))
    assert b"hidden" not in octets and b"rivate.Person" not in octets and b"192.0.2.9" not in octets
    one = status_of(read(replace(REPORT, recipients=[recipient])))[1]
    assert one["Final-Recipient"] == "rfc822;team@example.test"
    assert one["Remote-MTA"] is None
    assert "550 5.1.1 <team@example.test>" in one["Diagnostic-Code"]


def test_who_wants_the_message_back_in_full_gets_it() -> None:
    message = list(read(replace(REPORT, full=True)).iter_parts())[2]
    assert message.get_content_type() == "message/rfc822"
    assert message.get_content()["Message-ID"] == "<1234@example.test>"
    assert "secret body\r\n.dots" in message.get_content().get_content()


@pytest.mark.parametrize(
    "body", [b"x" * 990 + b"\r\n", "Grüße\r\n".encode()], ids=["too large", "8-bit"]
)
def test_a_message_that_is_too_large_or_not_ascii_comes_back_as_its_header(body: bytes) -> None:
    long = ORIGINAL + body * (FULL_LIMIT // 980 if body.isascii() else 1)
    part = list(read(replace(REPORT, original=long, full=True)).iter_parts())[2]
    assert part.get_content_type() == "text/rfc822-headers"
    assert compose(replace(REPORT, original=long, full=True)).isascii()


HEAD = ORIGINAL.partition(b"\r\n\r\n")[0] + b"\r\n"
ODD_FIELDS = {
    "UTF-8": "Subject: Grüße aus Köln\r\n".encode(),
    "Latin-1": b"Subject: Gr\xfc\xdfe\r\n",
    "a token of 2,000 octets": b"X-Link: https://example.org/?" + b"a" * 2000 + b"\r\n",
    "a line of 8 bits and 5,000 octets": b"X-Words: " + "Grüße ".encode() * 700 + b"\r\n",
    "999 octets": b"X: " + b"a" * 996 + b"\r\n",
    "a bare CR": b"Subject: a\rb\r\n",
    "a bare LF": b"Subject: a\nb\r\n",
    "NUL": b"Subject: a\0b\r\n",
    "a dot, a dash and blanks": b"X-Eight: \xff\r\n .\r\n --=_\r\nX-Blanks: \t \r\n",
}


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", ODD_FIELDS)
def test_a_header_that_not_every_host_takes_travels_in_quoted_printable(
    name: str, full: bool
) -> None:
    head = HEAD + ODD_FIELDS[name] + b"\r\n"
    report = replace(REPORT, original=head + b"body\r\n", full=full)
    octets = compose(report)
    assert octets.isascii()
    part = list(read(report).iter_parts())[2]
    assert part.get_content_type() == "text/rfc822-headers"
    assert part["Content-Transfer-Encoding"] == "quoted-printable"
    assert part.get_payload(decode=True) == head
    assert b"Message-ID: <1234@example.test>\r\n" in octets, "it can be read as it is"


@pytest.mark.parametrize("body", [b"x" * 999 + b"\r\n", b"a\rb\r\n", b"a\nb\r\n", b"\0\r\n"])
def test_a_message_that_cannot_travel_within_a_report_comes_back_as_its_header(body: bytes) -> None:
    part = list(read(replace(REPORT, original=ORIGINAL + body, full=True)).iter_parts())[2]
    assert part.get_content_type() == "text/rfc822-headers"
    assert part.get_content().rstrip().endswith("<1234@example.test>")


def test_lines_of_998_octets_come_back_in_full() -> None:
    part = list(
        read(replace(REPORT, original=ORIGINAL + b"x" * 998 + b"\r\n", full=True)).iter_parts()
    )[2]
    assert part.get_content_type() == "message/rfc822"


def test_a_header_without_end_is_cut_at_a_line() -> None:
    original = b"Subject: x\r\n" + b"X-Long: 1234567\r\n" * (HEADER_LIMIT // 10)
    part = list(read(replace(REPORT, original=original)).iter_parts())[2]
    lines = part.get_content().splitlines()
    assert set(lines[1:]) == {"X-Long: 1234567"}
    assert HEADER_LIMIT - 20 < 17 * len(lines) - 5 <= HEADER_LIMIT


def test_without_the_original_the_report_has_two_parts() -> None:
    assert [
        part.get_content_type() for part in read(replace(REPORT, original=b"")).iter_parts()
    ] == [
        "text/plain",
        "message/delivery-status",
    ]


def test_a_header_in_utf8_comes_back_as_rfc_6533_says() -> None:
    header = "Subject: Grüße\r\nTo: jörg@elsewhere.test\r\n\r\n"
    octets = compose(replace(REPORT, smtputf8=True, original=header.encode() + b"x\r\n"))
    assert octets.isascii()
    part = octets.rpartition(b"Content-Type: message/global-headers\r\n")[2].partition(b"\r\n\r\n")[
        2
    ]
    assert base64.b64decode(part.partition(b"\r\n\r\n")[0]).decode() == header


def test_an_address_in_utf8_is_written_in_ascii_for_programs_and_as_it_is_for_people() -> None:
    recipient = replace(STATUS, address="jörg@elsewhere.test", orcpt="utf-8;jörg@elsewhere.test")
    message = read(replace(REPORT, recipients=[recipient]))
    assert "jörg@elsewhere.test" in next(iter(message.iter_parts())).get_content()
    one = status_of(message)[1]
    assert one["Original-Recipient"] == r"utf-8;j\x{F6}rg@elsewhere.test"
    assert one["Final-Recipient"] == r"utf-8;j\x{F6}rg@elsewhere.test"
    ascii_only = replace(STATUS, orcpt="utf-8;j+x=y@elsewhere.test")
    one = status_of(read(replace(REPORT, recipients=[ascii_only])))[1]
    assert one["Original-Recipient"] == r"utf-8;j\x{2B}x\x{3D}y@elsewhere.test"


def test_a_sender_with_an_address_in_utf8_is_named_as_it_is() -> None:
    octets = compose(replace(REPORT, sender="jörg@example.test", smtputf8=True))
    assert "\r\nTo: <jörg@example.test>\r\n".encode() in octets


@given(
    st.text(max_size=200),
    st.binary(max_size=400),
    st.text(max_size=60),
    st.booleans(),
    st.booleans(),
)
def test_nothing_that_anybody_wrote_breaks_the_report(
    words: str, original: bytes, orcpt: str, smtputf8: bool, full: bool
) -> None:
    recipient = replace(
        STATUS, reply=words, host=words, address=f"{words[:20]}@x.test", orcpt=orcpt
    )
    report = replace(
        REPORT,
        recipients=[recipient],
        original=original,
        smtputf8=smtputf8,
        full=full,
        envid=words,
        sender="alice@example.test",
    )
    octets = compose(report)
    assert octets.isascii()
    head = octets.partition(b"\r\n\r\n")[0].decode()
    assert head.count("\r\nSubject:") == 1
    message = email.message_from_bytes(octets, policy=email.policy.default)
    assert len(list(message.iter_parts())) == (3 if original else 2)


def test_the_same_report_is_composed_alike_and_no_part_ends_early() -> None:
    hostile = f"X: y\r\n--=_{REPORT.identity}--\r\n\r\nbody\r\n".encode()
    report = replace(REPORT, original=hostile)
    assert compose(report) == compose(report)
    assert "--=_" in list(read(report).iter_parts())[2].get_content()
