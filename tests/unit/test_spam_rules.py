"""Every rule of the built-in scorer: a message that it is for, and one that it is not for."""

from __future__ import annotations

import re
from typing import Any

import pytest

from posthorn.model.verdict import DETAIL_LIMIT
from posthorn.ports.scan import Listing, MessageQuestion
from posthorn.runtime.blocklists import Blocklists
from posthorn.wire.auth.results import Authentication, Dkim, Dmarc, Iprev, Outcome, Spf
from posthorn.wire.spam.rule import DETAIL_CHARACTERS
from posthorn.wire.spam.scorer import GTUBE, MOST_LIST_POINTS, RULES, score
from posthorn_scan.judge import Judge
from posthorn_scan.sender import SenderChecks
from tests.support.spam import GOOD_TEXT, case, message, with_file, zipped
from tests.support.zone_lookup import ZoneLookup

PASSED = Authentication(
    iprev=Iprev(Outcome.PASS, "mail.example.net"),
    spf=(
        Spf(Outcome.PASS, "helo", "mail.example.net"),
        Spf(Outcome.PASS, "mailfrom", "example.net"),
    ),
    dkim=(Dkim(Outcome.PASS, "example.net", "s"),),
    dmarc=Dmarc(Outcome.PASS, "example.net", dkim_aligned=True),
)


def _spf(outcome: Outcome) -> Authentication:
    return Authentication(
        spf=(Spf(Outcome.NONE, "helo", "mail.test"), Spf(outcome, "mailfrom", "example.net"))
    )


def _dkim(*signatures: Dkim) -> Authentication:
    return Authentication(dkim=signatures)


def _auth(authentication: Authentication, **known: Any) -> tuple[bytes, dict[str, Any]]:
    return message(), {"authentication": authentication, **known}


def _fields(**fields: str | None) -> bytes:
    return message(fields={name.replace("_", "-"): value for name, value in fields.items()})


FORBIDDEN = "".join(f"--x\r\n\r\n{place}\r\n" for place in range(600))
TABLE: dict[str, bytes | tuple[bytes, dict[str, Any]]] = {
    "SPF_FAIL": _auth(_spf(Outcome.FAIL)),
    "SPF_SOFTFAIL": _auth(_spf(Outcome.SOFTFAIL)),
    "SPF_PERMERROR": _auth(_spf(Outcome.PERMERROR)),
    "SPF_PASS": _auth(_spf(Outcome.PASS)),
    "DKIM_FAIL": _auth(_dkim(Dkim(Outcome.FAIL, "example.net", "s", "body hash"))),
    "DKIM_PASS": _auth(_dkim(Dkim(Outcome.FAIL, "a.test", "s"), Dkim(Outcome.PASS, "b.test", "s"))),
    "DMARC_FAIL": _auth(Authentication(dmarc=Dmarc(Outcome.FAIL, "example.net"))),
    "DMARC_PASS": _auth(Authentication(dmarc=Dmarc(Outcome.PASS, "example.net"))),
    "UNAUTHENTICATED": _auth(_spf(Outcome.NONE)),
    "IPREV_FAIL": _auth(Authentication(iprev=Iprev(Outcome.FAIL)), client="192.0.2.1"),
    "HELO_ADDRESS": (message(), {"helo": "192.0.2.1"}),
    "HELO_OURS": (message(), {"helo": "Ours.test"}),
    "HELO_PLAIN": (message(), {"helo": "WIN-8AKJ"}),
    "DYNAMIC_NAME": _auth(Authentication(iprev=Iprev(Outcome.PASS, "host-192-0-2-1.isp.test"))),
    "DATE_MISSING": _fields(Date=None),
    "DATE_INVALID": _fields(Date="yesterday"),
    "DATE_FUTURE": _fields(Date="Thu, 03 Jul 2025 10:00:00 +0000"),
    "DATE_PAST": _fields(Date="Sun, 01 Jun 2025 10:00:00 +0000"),
    "MESSAGE_ID_MISSING": _fields(Message_ID=None),
    "MESSAGE_ID_INVALID": _fields(Message_ID="12345"),
    "FROM_INVALID": _fields(From="Ann"),
    "FROM_SEVERAL": _fields(From="a@evil.test, ann@example.net"),
    "FIELDS_REPEATED": b"Subject: two\r\n" + message(),
    "SUBJECT_MISSING": _fields(Subject=None),
    "SUBJECT_CAPITALS": _fields(Subject="URGENT BUSINESS PROPOSAL"),
    "RECIPIENTS_MISSING": _fields(To=None),
    "REPLY_ELSEWHERE": _fields(Reply_To="ann.example77@gmail.com"),
    "AUTHOR_DIGITS": _fields(From="x8812345@example.net"),
    "MAILING_LIST": _fields(List_Id="<x.example.net>", List_Unsubscribe="<https://example.net/>"),
    "NAME_OF_ACCOUNT": (
        _fields(From='"B\u03bfb  Boss" <b@example.net>'),
        {"own_names": {"bob boss": "bob@ours.test"}},
    ),
    "NAME_WITH_OUR_ADDRESS": _fields(From='"bob@ours.test" <b@example.net>'),
    "DOMAIN_LIKE_OURS": _fields(From="bob@0urs.test"),
    "NAME_WITH_ADDRESS": _fields(From='"service@paypal.test" <b@example.net>'),
    "FILE_RUNS": with_file("setup.exe", b"x"),
    "FILE_RUNS_IN_ARCHIVE": with_file("a.zip", zipped("readme.txt", "sub/run.JS")),
    "FILE_DISGUISED": with_file("invoice.pdf.scr", b"x"),
    "FILE_CONTENT_RUNS": with_file("photo.jpg", b"MZ" + b"\0" * 60 + b"This program cannot"),
    "FILE_MACROS": with_file("offer.docm", b"x"),
    "ARCHIVE_ENCRYPTED": with_file("a.zip", zipped("x.doc", encrypted=True)),
    "ARCHIVE_NESTED": with_file("a.zip", zipped("b.rar")),
    "FILE_PAGE": with_file("page.html", b"<p>"),
    "LINK_DIFFERS": message('<a href="http://evil.test/x">https://bank.test/login</a>', html=True),
    "LINK_LIKE_OURS": message('<a href="//evil.test">www.ours.test</a>', html=True),
    "LINK_TO_ADDRESS": message("see http://203.0.113.9/x or http://8.8.8.8/login"),
    "LINK_SHORTENED": message("see https://bit.ly/3x"),
    "LINK_WITH_USER": message("see https://bank.test@evil.test/"),
    "LINK_MIXES_SCRIPTS": message("see https://p\u0430ypal.test/"),
    "LINK_REDIRECTED": message("see https://a.test/go?u=https%3A%2F%2Fevil.test"),
    "HTML_IMAGE_ONLY": message('<a href="//a.test"><img src="//a.test/x.png"></a>', html=True),
    "HTML_HIDDEN_TEXT": message(
        f"<p>Buy</p><div style='display : none'>{'word ' * 60}</div>", html=True
    ),
    "WORDS_SPLIT": message("v\u200bi\u200ba\u200bg\u200br\u200ba now"),
    "HTML_FORM": message("<form action='//a.test'><input></form>", html=True),
    "HTML_SCRIPT": message("<script>x()</script>", html=True),
    "HTML_ALONE": message("<p>Hello</p>", html=True),
    "ADVANCE_FEE": message("I am a barrister; as next of kin you inherit ten million dollars"),
    "STRUCTURE_HUGE": message(FORBIDDEN, {"Content-Type": "multipart/mixed; boundary=x"}),
}


@pytest.mark.parametrize("name", sorted(TABLE))
def test_a_message_for_each_rule(name: str) -> None:
    entry = TABLE[name]
    content, known = entry if isinstance(entry, tuple) else (entry, {})
    found = {match.name: match for match in score(case(content, **known))}
    assert name in found
    assert len(found[name].detail) <= DETAIL_CHARACTERS
    assert found[name].detail.isprintable()


def test_the_table_has_every_rule_and_names_are_unique() -> None:
    names = [rule.name for rule in RULES]
    assert sorted(names) == sorted(TABLE)
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]+", each) for each in names)
    assert all(rule.description.endswith(".") for rule in RULES)
    assert DETAIL_CHARACTERS == DETAIL_LIMIT


def test_no_rule_crosses_the_junk_threshold_alone() -> None:
    assert max(rule.points for rule in RULES) < 6


@pytest.mark.parametrize(
    "content",
    [
        message(),
        message(
            fields={"From": "=?utf-8?q?J=C3=BCrgen?= <j@example.net>", "To": None, "Cc": "a@b.test"}
        ),
        with_file("minutes.pdf", b"%PDF-1.7"),
        with_file("photos.zip", zipped("a.jpg", "b.txt")),
        with_file("MZ.txt", b"MZ is how a text may begin"),
        message(fields={"From": "Bob <bob@ours.test>"}),
        message(fields={"Date": "Tue, 01 Jul 2025 12:00:00 +0200 (CEST)"}),
    ],
)
def test_honest_messages_match_nothing(content: bytes) -> None:
    known = case(content, own_names={"bob": "bob@ours.test"}, helo="mail.example.net")
    assert score(known) == []


@pytest.mark.parametrize(
    ("author", "is_pose"),
    [
        ('"Bob Boss" <boss@example.net>', True),
        ('"BOB.BOSS" <boss@example.net>', True),
        ('"Bob Boss" <bob.boss@ours.test>', False),
        ('"Bob" <boss@example.net>', False),
        ('"Sales" <sales@example.net>', False),
        ('"Carol Chief" <carol@example.net>', False),
    ],
)
async def test_an_author_elsewhere_with_the_name_of_a_recipient_is_a_pose(
    author: str, is_pose: bool
) -> None:
    lookup = ZoneLookup({})
    lists = Blocklists(lookup, [])
    senders = SenderChecks(lookup, lists, None, hostname="mx.test", seconds=60, keep_seconds=60)
    judge = Judge(lookup, None, lists, senders, [])  # type: ignore[arg-type]
    recipients = ("bob.boss+x@ours.test", "sales@ours.test", "c.chief@ours.test", "a.1@ours.test")
    question = MessageQuestion(
        "id", "8.8.4.4", "mail.example.net", "ann@example.net", recipients, 1.0, "mx.test"
    )
    verdict = await judge.judge(question, message(fields={"From": author}))
    assert ("NAME_OF_ACCOUNT" in [rule.name for rule in verdict.rules]) is is_pose


def test_an_authenticated_honest_message_is_below_zero() -> None:
    matches = score(case(message(), authentication=PASSED, helo="mail.example.net"))
    assert {each.name for each in matches} == {"SPF_PASS", "DKIM_PASS", "DMARC_PASS"}
    assert sum(each.points for each in matches) < 0


@pytest.mark.parametrize(
    ("name", "is_pose"),
    [
        ("Bob Boss (bob@ours.test)", True),
        ("BOB.BOSS+x@Ours.Test via Docs", True),
        ("=?utf-8?q?bob=40ours=2Etest?=", True),
        ("b\u03bfb@\u03bfurs.test", True),  # Greek letters
        ("bob\uff20ours.test", True),  # a wide @
        ("bob@ours.test.evil.test", False),
        ("bob@yours.test", False),
        ("Bob Boss", False),  # names of persons are not known
        ("bob at ours.test", False),
    ],
)
def test_an_address_of_ours_in_a_display_name_is_a_pose_unless_it_is_the_author(
    name: str, is_pose: bool
) -> None:
    def names(address: str) -> set[str]:
        content = message(
            fields={"From": f'"{name}" <{address}>' if "=?" not in name else f"{name} <{address}>"}
        )
        return {each.name for each in score(case(content))}

    assert ("NAME_WITH_OUR_ADDRESS" in names("b@example.net")) is is_pose
    assert "NAME_WITH_OUR_ADDRESS" not in names("other@ours.test")


def test_trap_13_shape_rules_stand_back_for_an_author_who_is_shown() -> None:
    content = message(
        '<a href="//esp.test"><img src="//a.test/x.png">https://shop.test</a>',
        {"Reply-To": "shop.answers@gmail.com", "From": "12345678@example.net"},
        html=True,
    )
    shapes = {rule.name for rule in RULES if rule.is_shape}
    stranger = {each.name for each in score(case(content))}
    assert {"REPLY_ELSEWHERE", "LINK_DIFFERS", "HTML_IMAGE_ONLY", "AUTHOR_DIGITS"} <= stranger
    shown = {each.name for each in score(case(content, authentication=PASSED))}
    assert not shown & shapes
    program = score(case(with_file("setup.exe", b"x"), authentication=PASSED))
    assert "FILE_RUNS" in {each.name for each in program}, "no shape: it counts for everybody"


@pytest.mark.parametrize(
    "name", ["a.EXE", "a.scr ", "a.pdf.lnk", "disk.img", "a.settingcontent-ms", "x.msixbundle"]
)
def test_types_that_run_are_known_by_their_last_extension(name: str) -> None:
    assert "FILE_RUNS" in {each.name for each in score(case(with_file(f'"{name}"', b"x")))}
    honest = with_file(f'"{name}.pdf"', b"x")
    assert "FILE_RUNS" not in {each.name for each in score(case(honest))}


def test_gtube_is_ten_points_exactly() -> None:
    for content in (
        message(f"test\r\n{GTUBE}\r\n", {"Date": None, "Subject": "GET RICH NOW"}),
        message(f"<p>{GTUBE}</p>", html=True),
    ):
        assert [(each.name, each.points) for each in score(case(content))] == [("GTUBE", 10.0)]


def test_lists_count_by_zone_and_together_less_than_a_refusal() -> None:
    listings = [
        Listing("bl.test", "192.0.2.1", "127.0.0.2", 4.0, "spam\nsource"),
        Listing("bl.test", "a.test", "127.0.0.2", 2.0),
        Listing("b2.example", "192.0.2.1", "127.0.0.2", 5.9),
        Listing("b3.test", "192.0.2.1", "127.0.0.2", 5.9),
        Listing("good.test", "192.0.2.1", "127.0.0.2", -3.0),
    ]
    found = {each.name: each for each in score(case(message(), listings=listings))}
    assert found["LISTED_BL_TEST"].detail in ("192.0.2.1: spam source", "192.0.2.1: spam")
    assert found["LISTED_GOOD_TEST"].points == -3.0
    against = [each.points for each in found.values() if each.points > 0]
    assert sum(against) == pytest.approx(MOST_LIST_POINTS) and MOST_LIST_POINTS < 15
    alone = score(case(message(), listings=listings[:1]))
    assert [(each.name, each.points) for each in alone] == [("LISTED_BL_TEST", 4.0)]


@pytest.mark.parametrize(
    ("name", "matches"),
    [
        ("bob.boss@ours.test", True),
        ("Bob (bob@ours.test)", True),
        ("BOB@OURS.TEST", True),
        ("bob at ours.test", False),
        ("bob@ours.test.example", False),
        ("", False),
    ],
)
def test_names_that_hold_our_addresses(name: str, matches: bool) -> None:
    content = message(fields={"From": f'"{name}" <x@example.net>'})
    assert ("NAME_WITH_OUR_ADDRESS" in {each.name for each in score(case(content))}) is matches


@pytest.mark.parametrize(
    ("domain", "matches"),
    [
        ("ours.test.evil.example", True),
        ("\u043eurs.test", True),
        ("\u00f5urs.test", True),
        ("ours.test.au", False),
        ("yours.test", False),
        ("mail.ours.test", False),
    ],
)
def test_domains_that_look_like_ours(domain: str, matches: bool) -> None:
    content = message(fields={"From": f"x@{domain}"})
    assert ("DOMAIN_LIKE_OURS" in {each.name for each in score(case(content))}) is matches


def test_a_second_from_field_hides_no_author() -> None:
    found = {each.name for each in score(case(b"From: a@evil.test\r\n" + message()))}
    assert {"FROM_SEVERAL", "FIELDS_REPEATED"} <= found
    alike = message(fields={"From": "Ann <ann@example.net>, Bob <bob@Example.net>"})
    assert score(case(alike)) == []


def test_spf_of_the_null_path_is_that_of_helo() -> None:
    helo = Authentication(spf=(Spf(Outcome.FAIL, "helo", "mail.test"),))
    assert "SPF_FAIL" in {each.name for each in score(case(message(), authentication=helo))}


def test_a_failed_lookup_or_a_test_of_dkim_has_no_points() -> None:
    for found in (
        _dkim(Dkim(Outcome.FAIL, "a.test", "s", is_testing=True)),
        _dkim(Dkim(Outcome.FAIL, "a.test", "s"), Dkim(Outcome.TEMPERROR, "b.test", "s")),
        _spf(Outcome.TEMPERROR),
        Authentication(iprev=Iprev(Outcome.TEMPERROR), dmarc=Dmarc(Outcome.TEMPERROR)),
    ):
        assert score(case(message(GOOD_TEXT), authentication=found)) == []
