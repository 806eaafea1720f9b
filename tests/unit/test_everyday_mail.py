"""Honest messages as they come every day, with the faults that they have: the built-in scorer files
none of them as spam."""

from __future__ import annotations

from typing import Any

import pytest

from posthorn.model.filter_policy import DEFAULT_POLICY
from posthorn.wire.auth.results import Authentication, Dkim, Dmarc, Iprev, Outcome, Spf
from posthorn.wire.spam.scorer import MOST_MISSING_POINTS, score
from tests.support.spam import case, message, with_file

PASS, FAIL, NONE = Outcome.PASS, Outcome.FAIL, Outcome.NONE


def auth(
    spf: Outcome = NONE,
    dkim: Outcome | None = None,
    dmarc: Outcome = NONE,
    *,
    author: str = "example.net",
    signer: str = "",
    host: str = "",
    is_aligned: bool = False,
) -> Authentication:
    return Authentication(
        Iprev(PASS, host) if host else Iprev(Outcome.PERMERROR),
        (Spf(NONE, "helo", "mail.example.net"), Spf(spf, "mailfrom", "example.net")),
        () if dkim is None else (Dkim(dkim, signer or author, "s", "body hash"),),
        Dmarc(dmarc, author, dkim_aligned=is_aligned, spf_aligned=is_aligned and not dkim),
    )


def fields(**changed: str | None) -> bytes:
    return message("Hello\r\n", {name.replace("_", "-"): value for name, value in changed.items()})


HERE = {"client": "127.0.0.1", "authentication": auth()}
BARE = {"From": None, "To": None, "Date": None, "Message-ID": None, "Subject": None}
PREVIEW = "What there is this week. " + "&#847;&zwnj;&nbsp;" * 150
NEWSLETTER = message(
    f'<div style="display:none">{PREVIEW}</div><p>New this week in our shop, and until Sunday only'
    '</p><a href="https://click.esp.test/x?u=https%3A%2F%2Fshop.test">https://shop.test/</a>',
    {
        "From": "Shop <news@shop.test>",
        "Subject": "BIG SALE THIS WEEK",
        "List-Id": "<n.shop.test>",
        "List-Unsubscribe": "<https://click.esp.test/u>",
        "Precedence": "bulk",
        "Reply-To": "shop.example@gmail.com",
    },
    html=True,
)
INVITATION = message(
    "--b\r\nContent-Type: text/plain\r\n\r\nLunch\r\n--b\r\nContent-Type: text/calendar; "
    "method=REQUEST; name=invite.ics\r\n\r\nBEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n--b--\r\n",
    {"Content-Type": "multipart/alternative; boundary=b"},
)
REPORT = message(
    "--b\r\n\r\nIt could not be delivered.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
    "Reporting-MTA: dns; mail.example.net\r\n\r\n--b--\r\n",
    {
        "From": "MAILER-DAEMON@example.net (Mail Delivery System)",
        "Content-Type": "multipart/report; report-type=delivery-status; boundary=b",
    },
)
FROM_OURS = '"bob@ours.test via list" <list@example.net>'
MAIL: dict[str, tuple[bytes, dict[str, Any]]] = {
    "telnet, without a header": (message("Hello\r\n", BARE), {**HERE, "helo": "me"}),
    "telnet, with our own name": (
        fields(From="a@ours.test", Date=None, Message_ID=None),
        {**HERE, "helo": "ours.test"},
    ),
    "curl, with a subject alone": (
        message("Hello\r\n", {**BARE, "Subject": "Hello"}),
        {**HERE, "helo": "laptop"},
    ),
    "swaks": (
        fields(From="root@laptop", Subject="test Sun, 29 Nov 2026", Message_ID="<2.3@laptop>"),
        {**HERE, "helo": "laptop"},
    ),
    "a small host without a name, by IPv6": (message(), {"authentication": auth()}),
    "cron, without Date and Message-ID": (
        fields(From="root@web1.example.net (Cron Daemon)", Date=None, Message_ID=None),
        {"authentication": auth(), "helo": "web1"},
    ),
    "a shop on our own web server": (
        fields(From="shop@ours.test", Message_ID=None),
        {"authentication": auth(author="ours.test"), "helo": "ours.test"},
    ),
    "a scanner in the office": (
        with_file("scan.pdf", b"%PDF-1.4", "application/pdf"),
        {"authentication": auth(FAIL), "client": "192.168.1.20", "helo": "192.168.1.20"},
    ),
    "a program without much of a header": (
        message(
            '<p>Click <a href="http://203.0.113.9/reset">here</a></p>',
            {"Date": None, "Message-ID": None},
            html=True,
        ),
        {"authentication": auth(host="ec2-203-0-113-9.cloud.test"), "helo": "ip-10-0-0-1"},
    ),
    "a newsletter signed by its author": (
        NEWSLETTER,
        {"authentication": auth(PASS, PASS, PASS, author="shop.test", is_aligned=True)},
    ),
    "a newsletter signed by its service alone": (
        NEWSLETTER,
        {"authentication": auth(PASS, PASS, FAIL, author="shop.test", signer="esp.test")},
    ),
    "a mailing list that breaks signatures": (
        fields(Subject="[list] Hello", List_Id="<l.lists.test>", List_Post="<mailto:l@lists.test>"),
        {"authentication": auth(PASS, FAIL, FAIL)},
    ),
    "a mailing list that writes its own address": (
        fields(From=FROM_OURS, List_Id="<l.example.net>"),
        {"authentication": auth(PASS, FAIL, is_aligned=True)},
    ),
    "forwarded by an alias": (message(), {"authentication": auth(FAIL, FAIL, FAIL)}),
    "to sign a document": (
        fields(
            From='"ann@gmail.com via Documents" <no-reply@example.net>',
            Reply_To="ann.example1234567@gmail.com",
        ),
        {"authentication": auth(PASS, PASS, PASS, is_aligned=True)},
    ),
    "an invitation": (INVITATION, {"authentication": auth()}),
    "a delivery status notification": (
        REPORT,
        {"authentication": Authentication(Iprev(FAIL), (Spf(NONE, "helo", "mail.example.net"),))},
    ),
    "to undisclosed recipients": (
        fields(To="undisclosed-recipients:;"),
        {"authentication": auth()},
    ),
    "a copy without To and Subject": (fields(To=None, Subject=None), {"authentication": auth()}),
    "a reply by telephone": (
        fields(Subject="Re: Minutes", In_Reply_To="<1@ours.test>", X_Mailer="iPhone Mail (21A)"),
        {"authentication": auth(PASS, PASS, is_aligned=True)},
    ),
    "text outside of ASCII in the header": (
        fields(From="Jürgen Müller <j@example.net>", Subject="Grüße aus Köln"),
        {"authentication": auth()},
    ),
    "twelve days in a queue": (
        fields(Date="Thu, 19 Jun 2025 10:00:00 +0000"),
        {"authentication": auth()},
    ),
}


@pytest.mark.parametrize("name", MAIL)
def test_honest_mail_is_no_spam(name: str) -> None:
    content, known = MAIL[name]
    client = "2001:db8::1" if "IPv6" in name else "198.51.100.7"
    found = score(case(content, **{"client": client, "helo": "mail.example.net", **known}))
    points = sum(each.points for each in found)
    assert points < DEFAULT_POLICY.junk_score, [(each.name, each.points) for each in found]


def test_fields_that_are_missing_count_once() -> None:
    found = score(case(message("Hello\r\n", BARE)))
    assert {"FROM_INVALID", "DATE_MISSING", "SUBJECT_MISSING"} <= {each.name for each in found}
    assert sum(each.points for each in found) == MOST_MISSING_POINTS


def test_a_host_that_says_our_name_is_shown_or_poses() -> None:
    def names(**known: Any) -> set[str]:
        return {each.name for each in score(case(message(), helo="ours.test", **known))}

    assert "HELO_OURS" in names(client="198.51.100.7")
    assert "HELO_OURS" in names(
        client="198.51.100.7", authentication=auth(PASS, host="notours.test")
    )
    shown = Authentication(spf=(Spf(PASS, "helo", "ours.test"),))
    for authentication in (shown, auth(host="web.ours.test"), auth(host="ours.test")):
        assert "HELO_OURS" not in names(client="198.51.100.7", authentication=authentication)
    assert "HELO_OURS" not in names(client="10.0.0.7")


def test_a_link_poses_unless_its_host_signed_the_message() -> None:
    def matches(signer: str) -> bool:
        found = score(case(NEWSLETTER, authentication=auth(dkim=PASS, signer=signer)))
        return "LINK_DIFFERS" in {each.name for each in found}

    assert matches("other.test") and not matches("mail.esp.test")
