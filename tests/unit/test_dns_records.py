"""What a domain is to publish in DNS, and what is said of what stands there. Zones are written
down here as answers."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from datetime import UTC, datetime

import dns.zone
import pytest

from posthorn.adapters.dkim import generate
from posthorn.model.dns_answers import Answers, Failed, Question, Wanted
from posthorn.model.dns_findings import Finding, Verdict, judge
from posthorn.model.dns_records import (
    Endpoint,
    Need,
    Presence,
    Purpose,
    Record,
    SigningKey,
    records_of,
    zone_text,
)
from posthorn.model.spf_record import merged
from posthorn.wire.auth.spf_macros import SpfError
from posthorn.wire.auth.spf_record import parse_spf
from posthorn.wire.mta_sts import Mode, parse_policy, policy_text
from tests.support.builders import PRESENCE

RSA = SigningKey("s1", "rsa", generate("rsa")[1], "signing")
ED = SigningKey("s2", "ed25519", generate("ed25519")[1], "pending")
OLD = SigningKey(
    "s0", "ed25519", generate("ed25519")[1], "retired", datetime(2030, 1, 1, tzinfo=UTC)
)
ALL = records_of("a.test", PRESENCE, [RSA, ED, OLD], "token")

HOSTS: dict[Question, tuple[str, ...]] = {
    ("mx1.post.test", "A"): ("192.0.2.1",),
    ("mx2.post.test", "AAAA"): ("2001:db8::2",),
    ("web.post.test", "A"): ("192.0.2.80",),
    ("out.post.test", "A"): ("192.0.2.25",),
    ("out.post.test", "AAAA"): ("2001:db8::25",),
}

type Zone = dict[Question, tuple[str, ...] | Failed]


def only(purpose: Purpose, name: str | None = None) -> Record:
    (found,) = (
        record for record in ALL if record.purpose is purpose and name in (None, record.name)
    )
    return found


def found_in(zone: Zone, record: Record, presence: Presence = PRESENCE) -> Finding:
    """Judge as the service does: what is wanted and not in the zone is not there."""
    known: Zone = {}
    for _ in range(30):
        try:
            return judge("a.test", presence, record, Answers(known))
        except Wanted as wanted:
            known |= {
                question: zone.get(question, HOSTS.get(question, ()))
                for question in wanted.questions
            }
    raise AssertionError("it wants ever more")


def said(record: Record, *values: str, **more: tuple[str, ...]) -> tuple[Verdict, str]:
    """Verdict and text for a record that stands there with these values; ``more`` as
    ``TXT_b_test=…``."""
    zone: Zone = {(record.name, record.type): values}
    for name, others in more.items():
        kind, _, host = name.partition("_")
        zone[host.replace("_", "."), kind] = others
    finding = found_in(zone, record)
    return finding.verdict, finding.detail


# what is to be published


def test_everything_that_is_published_as_wanted_is_right() -> None:
    zone: Zone = {(record.name, record.type): record.values for record in ALL}
    wrong = {record.name: found_in(zone, record) for record in ALL}
    assert {
        name: finding for name, finding in wrong.items() if finding.verdict is not Verdict.RIGHT
    } == {}


def test_of_an_empty_zone_everything_is_missing() -> None:
    for record in ALL:
        finding = found_in({}, record)
        assert finding.verdict is Verdict.MISSING, record
        assert record.name in finding.detail or record.purpose is Purpose.PTR
        assert record.values[0] in finding.detail


def test_when_no_name_server_answers_everything_is_unknown() -> None:
    for record in ALL:
        zone: Zone = {(record.name, record.type): Failed("SERVFAIL")}
        assert found_in(zone, record).verdict is Verdict.UNKNOWN, record


def test_the_records_of_a_domain() -> None:
    shown = [
        (record.purpose.value, record.name, record.type, record.values)
        for record in ALL
        if record.purpose is not Purpose.DKIM
    ]
    mailto = "mailto:postmaster@a.test"
    assert shown == [
        ("ownership", "_posthorn-challenge.a.test", "TXT", ("posthorn-verification=token",)),
        ("mx", "a.test", "MX", ("10 mx1.post.test", "20 mx2.post.test")),
        ("spf", "a.test", "TXT", ("v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 ~all",)),
        ("dmarc", "_dmarc.a.test", "TXT", (f"v=DMARC1; p=none; rua={mailto}",)),
        ("tls-rpt", "_smtp._tls.a.test", "TXT", (f"v=TLSRPTv1; rua={mailto}",)),
        ("mta-sts", "_mta-sts.a.test", "TXT", (f"v=STSv1; id={PRESENCE.policy_id}",)),
        ("mta-sts-host", "mta-sts.a.test", "CNAME", ("web.post.test",)),
        ("autoconfig", "autoconfig.a.test", "CNAME", ("web.post.test",)),
        ("autodiscover", "autodiscover.a.test", "CNAME", ("web.post.test",)),
        ("service", "_submissions._tcp.a.test", "SRV", ("0 1 465 smtp.post.test",)),
        ("service", "_submission._tcp.a.test", "SRV", ("0 1 587 smtp.post.test",)),
        ("service", "_imaps._tcp.a.test", "SRV", ("0 1 993 imap.post.test",)),
        ("service", "_imap._tcp.a.test", "SRV", ("0 1 143 imap.post.test",)),
        ("service", "_pop3s._tcp.a.test", "SRV", ("10 1 995 pop.post.test",)),
        ("service", "_pop3._tcp.a.test", "SRV", ("0 0 0 .",)),
        ("ptr", "25.2.0.192.in-addr.arpa", "PTR", ("out.post.test",)),
        ("ptr", f"5.2{'.0' * 22}.8.b.d.0.1.0.0.2.ip6.arpa", "PTR", ("out.post.test",)),
    ]
    keys = [
        (record.name, record.state, record.need) for record in ALL if record.purpose is Purpose.DKIM
    ]
    assert keys == [
        ("s1._domainkey.a.test", "signing", Need.REQUIRED),
        ("s2._domainkey.a.test", "pending", Need.REQUIRED),
        ("s0._domainkey.a.test", "retired", Need.RECOMMENDED),
    ]


def test_without_imap_reading_by_pop3_comes_first_and_the_absence_is_told() -> None:
    nowhere = Endpoint("imap.post.test", 0)
    values = {
        record.name: record.values
        for record in records_of("a.test", replace(PRESENCE, imap=nowhere, imaps=nowhere), [], None)
    }
    assert values["_pop3s._tcp.a.test"] == ("0 1 995 pop.post.test",)
    assert values["_imaps._tcp.a.test"] == values["_imap._tcp.a.test"] == ("0 0 0 .",)


def test_a_verified_domain_publishes_no_challenge_and_no_policy_means_no_record_of_one() -> None:
    records = records_of("a.test", replace(PRESENCE, mta_sts=Mode.NONE), [], None)
    assert not {record.purpose for record in records} & {
        Purpose.OWNERSHIP,
        Purpose.MTA_STS,
        Purpose.MTA_STS_HOST,
    }


def test_reports_that_go_to_another_domain_say_what_that_one_publishes() -> None:
    (dmarc,) = (
        record
        for record in records_of("a.test", replace(PRESENCE, reports="dmarc@post.test"), [], None)
        if record.purpose is Purpose.DMARC
    )
    assert dmarc.values == ("v=DMARC1; p=none; rua=mailto:dmarc@post.test",)
    assert "a.test._report._dmarc.post.test" in dmarc.why


def test_the_zone_text_reads_as_a_zone_with_the_same_records() -> None:
    text = zone_text("a.test", ALL)
    zone = dns.zone.from_text(text, origin="a.test.", relativize=False, check_origin=False)
    found = {
        (name.to_text(omit_final_dot=True), rdata.rdtype.name): b"".join(
            getattr(rdata, "strings", ())
        )
        for name, _, rdata in zone.iterate_rdatas()
    }
    wanted = {(record.name, record.type) for record in ALL if record.purpose is not Purpose.PTR}
    assert found.keys() == wanted
    assert (
        found["s1._domainkey.a.test", "TXT"].decode()
        == only(Purpose.DKIM, "s1._domainkey.a.test").values[0]
    )
    assert "_pop3._tcp.a.test. 3600 IN SRV 0 0 0 .\n" in text
    assert "\n; 25.2.0.192.in-addr.arpa. 3600 IN PTR out.post.test.\n" in text
    assert all(len(string) <= 255 for string in re.findall(r'"([^"]*)"', text))


def test_what_others_have_published_cannot_break_out_of_the_zone_text() -> None:
    records = records_of(
        "a.test", PRESENCE, [], None, ['v=spf1 exp="\\\nb.test. 60 IN A 192.0.2.9 -all']
    )
    text = zone_text("a.test", records)
    assert "\nb.test" not in text
    zone = dns.zone.from_text(text, origin="a.test.", relativize=False, check_origin=False)
    assert "b.test" not in {name.to_text(omit_final_dot=True) for name in zone}


def test_the_policy_reads_and_its_id_changes_with_it() -> None:
    policy = parse_policy(policy_text(PRESENCE.policy).encode())
    assert policy == PRESENCE.policy
    assert policy.allows("MX1.post.test")
    assert replace(PRESENCE, mx=("mx3.post.test",)).policy_id != PRESENCE.policy_id
    assert replace(PRESENCE, mta_sts=Mode.ENFORCE).policy_id != PRESENCE.policy_id


# an alias in the place of the domain


@pytest.mark.parametrize("purpose", [Purpose.MX, Purpose.SPF])
@pytest.mark.parametrize("target", ["shop.elsewhere.test", "dangling.test"])
def test_an_alias_at_the_domain_is_told_as_the_cause(purpose: Purpose, target: str) -> None:
    record = only(purpose)
    through = {
        "shop.elsewhere.test": {"MX": ("10 mx.elsewhere.test",), "TXT": ("v=spf1 -all",)}
    }.get(target, {})
    zone: Zone = {
        ("a.test", "CNAME"): (target,),
        ("a.test", record.type): through.get(record.type, ()),
    }
    finding = found_in(zone, record)
    assert finding.verdict is Verdict.WRONG
    assert finding.detail.startswith(f"a.test is itself an alias (CNAME) for {target}, ")
    assert "remove the CNAME" in finding.detail
    assert record.values[0] in finding.detail


def test_an_alias_at_the_domain_whose_target_has_what_is_wanted_stays_right_and_is_told() -> None:
    zone: Zone = {("a.test", "CNAME"): ("b.test",), ("a.test", "MX"): only(Purpose.MX).values}
    finding = found_in(zone, only(Purpose.MX))
    assert finding.verdict is Verdict.RIGHT
    assert "alias (CNAME) for b.test" in finding.detail


def test_an_alias_that_leads_nowhere_known_is_told_beside_that() -> None:
    zone: Zone = {
        ("a.test", "CNAME"): ("b.test",),
        ("a.test", "MX"): Failed("the name server answered SERVFAIL"),
    }
    finding = found_in(zone, only(Purpose.MX))
    assert finding.verdict is Verdict.UNKNOWN
    assert "alias (CNAME) for b.test" in finding.detail
    assert "SERVFAIL" in finding.detail


def test_records_below_the_domain_do_not_mind_an_alias_and_a_silent_lookup_says_nothing() -> None:
    dmarc = only(Purpose.DMARC)
    zone: Zone = {("a.test", "CNAME"): ("b.test",), (dmarc.name, "TXT"): dmarc.values}
    assert "alias" not in found_in(zone, dmarc).detail
    zone = {("a.test", "CNAME"): Failed("silence"), ("a.test", "MX"): only(Purpose.MX).values}
    assert found_in(zone, only(Purpose.MX)).verdict is Verdict.RIGHT


# MX


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (("0 .",), "null MX"),
        (("10 mx.elsewhere.test",), "mail may also go to mx.elsewhere.test"),
        (
            ("10 mx1.post.test", "20 mx2.post.test", "30 mx.elsewhere.test"),
            "mx.elsewhere.test; remove it",
        ),
        (("10 mx1.post.test",), "add 20 mx2.post.test"),
        (("10 mx1.post.test", "20 mx2.post.test", "30 192.0.2.1"), "192.0.2.1 is an address"),
    ],
)
def test_mx_that_are_wrong(values: tuple[str, ...], text: str) -> None:
    verdict, detail = said(only(Purpose.MX), *values)
    assert verdict is Verdict.WRONG
    assert text in detail


def test_mx_preferences_are_the_owners_affair() -> None:
    assert said(only(Purpose.MX), "5 mx2.post.test", "5 mx1.post.test") == (Verdict.RIGHT, "")


def test_an_mx_must_lead_to_a_host_with_an_address_that_is_no_alias() -> None:
    values = "10 mx1.post.test", "20 mx2.post.test"
    verdict, detail = said(only(Purpose.MX), *values, CNAME_mx1_post_test=("real.post.test",))
    assert (verdict, detail) == (
        Verdict.WRONG,
        "mx1.post.test is an alias (CNAME), which an MX must not name (RFC 2181 §10.3)",
    )
    verdict, detail = said(only(Purpose.MX), *values, A_mx1_post_test=())
    assert (verdict, detail) == (Verdict.WRONG, "mx1.post.test has no address")
    zone: Zone = {("a.test", "MX"): values, ("mx1.post.test", "A"): Failed("silence")}
    assert found_in(zone, only(Purpose.MX)).verdict is Verdict.UNKNOWN
    zone["a.test", "MX"] = (*values, "30 mx.elsewhere.test")
    # whatever that lookup would have said
    assert found_in(zone, only(Purpose.MX)).verdict is Verdict.WRONG


# SPF


@pytest.mark.parametrize(
    "value",
    [
        "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all",
        "V=SPF1 IP4:192.0.2.25 ip6:2001:DB8::25 ?all",
        "v=spf1 include:b.test -all",
        "v=spf1 redirect=b.test",
        "v=spf1 a:out.post.test ~all",
        "v=spf1  mx:mxs.test/28//64  -all",
        "v=spf1 ip4:198.51.100.1 -ip4:198.51.100.2 include:b.test exp=why.test -all",
    ],
)
def test_spf_that_lets_us_send(value: str) -> None:
    more = {
        "TXT_b_test": ("another text", "v=spf1 ip4:192.0.2.25 include:c.test -all"),
        "TXT_c_test": ("v=spf1 ip6:2001:db8::25 -all",),
        "MX_mxs_test": ("10 h.test",),
        "A_h_test": ("192.0.2.17",),
        "AAAA_h_test": ("2001:db8::1",),
    }
    verdict, detail = said(only(Purpose.SPF), "google-site-verification=x", value, **more)
    assert verdict is Verdict.RIGHT, detail


@pytest.mark.parametrize(
    ("values", "text", "suggestion"),
    [
        (
            ("v=spf1 -all",),
            "does not let mail from here",
            "v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 -all",
        ),
        (
            ("v=spf1 include:c.test ip4:192.0.2.25 -all",),
            "does not let mail from here",
            "v=spf1 include:c.test ip4:192.0.2.25 ip6:2001:db8::25 -all",
        ),
        (
            ("v=spf1 -ip4:192.0.2.25 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all",),
            "does not let mail from here",
            None,
        ),
        (
            ("v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 +all",),
            "everybody",
            "v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 ~all",
        ),
        (("v=spf1 all",), "everybody", "v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 ~all"),
        (
            ("v=spf1 include:b.test -all", "v=spf1 ip4:192.0.2.25 ~all"),
            "2 SPF records",
            "v=spf1 include:b.test ip4:192.0.2.25 ip6:2001:db8::25 ~all",
        ),
        (("v=spf1 ipv4:192.0.2.25 -all",), "`ipv4:192.0.2.25` is not a valid term", ""),
        (("v=spf1 ip4:out.post.test -all",), "does not name an address", ""),
        (("v=spf1 include:none.test -all",), "none.test has no SPF record", ""),
        (("v=spf1 include:a.test -all",), "more than 10 lookups", ""),
        (
            (f"v=spf1 {' '.join(f'a:h{n}.test' for n in range(11))} -all",),
            "more than 10 lookups",
            "",
        ),
    ],
)
def test_spf_that_is_wrong(values: tuple[str, ...], text: str, suggestion: str | None) -> None:
    zone: Zone = {("a.test", "TXT"): values, ("c.test", "TXT"): ("v=spf1 ip6:2001:db8::1 -all",)}
    finding = found_in(zone, only(Purpose.SPF))
    assert finding.verdict is Verdict.WRONG
    assert text in finding.detail
    if suggestion is not None:
        assert "".join(finding.suggestion) == suggestion


def test_a_suggested_spf_record_is_right() -> None:
    for values in (
        ("v=spf1 -all",),
        ("v=spf1 a -all", "v=spf1 redirect=c.test"),
        ("v=spf1 redirect=c.test",),
        (),
    ):
        zone: Zone = {
            ("a.test", "TXT"): values,
            ("c.test", "TXT"): ("v=spf1 ip4:198.51.100.1 -all",),
        }
        suggestion = (merged(values, PRESENCE.spf_mechanisms),)
        zone["a.test", "TXT"] = suggestion
        finding = found_in(zone, only(Purpose.SPF))
        assert finding.verdict is Verdict.RIGHT, (suggestion, finding)


def test_ten_lookups_are_allowed() -> None:
    hosts = " ".join(f"a:h{number}.test" for number in range(10))
    assert said(only(Purpose.SPF), f"v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 {hosts} -all") == (
        Verdict.RIGHT,
        "",
    )


def test_an_include_that_cannot_be_looked_up_leaves_the_record_unknown() -> None:
    zone: Zone = {
        ("a.test", "TXT"): ("v=spf1 include:b.test -all",),
        ("b.test", "TXT"): Failed("silence"),
    }
    finding = found_in(zone, only(Purpose.SPF))
    assert (finding.verdict, finding.found) == (Verdict.UNKNOWN, ("v=spf1 include:b.test -all",))


def test_macros_and_ptr_are_counted_and_let_nobody_send() -> None:
    verdict, detail = said(
        only(Purpose.SPF), "v=spf1 exists:%{i}.b.test include:%{d}.c.test a:%{h} ptr -all"
    )
    assert (verdict, "does not let" in detail) == (Verdict.WRONG, True)


def test_the_include_that_the_settings_name_is_what_counts() -> None:
    presence = replace(PRESENCE, spf_include="_spf.post.test", outgoing=())
    (record,) = (
        one for one in records_of("a.test", presence, [], None) if one.purpose is Purpose.SPF
    )
    assert record.values == ("v=spf1 include:_spf.post.test ~all",)
    ours: Zone = {("_spf.post.test", "TXT"): ("v=spf1 ip4:192.0.2.25 -all",)}
    right: Zone = {("a.test", "TXT"): ("v=spf1 include:_SPF.post.test. -all",), **ours}
    assert found_in(right, record, presence).verdict is Verdict.RIGHT
    wrong: Zone = {("a.test", "TXT"): ("v=spf1 ip4:192.0.2.25 -all",), **ours}
    assert found_in(wrong, record, presence).suggestion == (
        "v=spf1 ip4:192.0.2.25 include:_spf.post.test -all",
    )


def test_without_addresses_the_mx_send() -> None:
    presence = replace(PRESENCE, outgoing=())
    (record,) = (
        one for one in records_of("a.test", presence, [], None) if one.purpose is Purpose.SPF
    )
    assert record.values == ("v=spf1 mx ~all",)
    zone: Zone = {
        ("a.test", "TXT"): record.values,
        ("a.test", "MX"): ("10 mx1.post.test", "20 mx2.post.test"),
    }
    assert found_in(zone, record, presence).verdict is Verdict.RIGHT
    zone["a.test", "MX"] = ("10 elsewhere.test",)
    assert found_in(zone, record, presence).verdict is Verdict.WRONG


@pytest.mark.parametrize(
    "text",
    [
        "v=spf1 include: -all",
        "v=spf1 a/33",
        "v=spf1 mx//129",
        "v=spf1 ip6:192.0.2.1",
        "v=spf1 all:x",
        "v=spf1 +redirect=b",
        "v=spf1 ,",
    ],
)
def test_terms_that_do_not_read_spoil_the_record(text: str) -> None:
    with pytest.raises(SpfError):
        parse_spf(text)


# DKIM


def test_a_key_is_compared_as_a_key() -> None:
    record = only(Purpose.DKIM, "s1._domainkey.a.test")
    key = record.values[0].partition("p=")[2]
    bare = base64.b64encode(base64.b64decode(key)[24:]).decode()
    for value in (
        f"v=DKIM1; k=rsa; p={key}",
        f"p={key}",
        f"v=DKIM1;h=sha1 : sha256;s=email;p= {key[:100]} {key[100:]} ;",
        f"v=DKIM1; k=rsa; p={bare}",
    ):
        assert said(record, value) == (Verdict.RIGHT, ""), value
    verdict, detail = said(record, f"v=DKIM1; t=y; p={key}")
    assert (verdict, "t=y" in detail) == (Verdict.RIGHT, True)


def test_keys_that_are_wrong() -> None:
    record, other = (
        only(Purpose.DKIM, "s1._domainkey.a.test"),
        only(Purpose.DKIM, "s2._domainkey.a.test"),
    )
    key = record.values[0].partition("p=")[2]
    for values, text in (
        ((f"v=DKIM1; k=rsa; p={key[:200]}",), "cut short"),
        (("v=DKIM1; k=rsa; p=",), "revokes"),
        ((f"v=DKIM1; k=rsa; p={generate_key()}",), "another key"),
        ((f"v=DKIM1; k=ed25519; p={key}",), "said to be ed25519"),
        ((f"k=rsa; v=DKIM1; p={key}",), "come first"),
        ((f"v=DKIM1; h=sha1; p={key}",), "sha256"),
        ((f"v=DKIM1; s=tlsrpt; p={key}",), "s= does not allow mail"),
        (("hello",), "no DKIM record"),
        ((record.values[0], other.values[0]), "2 TXT records"),
    ):
        verdict, detail = said(record, *values)
        assert (verdict, text in detail) == (Verdict.WRONG, True), (values, detail)


def generate_key() -> str:
    return base64.b64encode(generate("rsa")[1]).decode()


# records of one version


@pytest.mark.parametrize(
    ("purpose", "values", "verdict", "text"),
    [
        (Purpose.DMARC, ("v=DMARC1; p=reject; rua=mailto:x@y.test",), Verdict.RIGHT, ""),
        (Purpose.DMARC, ("v = DMARC1 ;p=Quarantine",), Verdict.RIGHT, "no rua="),
        (
            Purpose.DMARC,
            ("something else", "v=DMARC1; p=none; rua=mailto:x@y.test"),
            Verdict.RIGHT,
            "only watches",
        ),
        (Purpose.DMARC, ("something else",), Verdict.MISSING, "there is no TXT record"),
        (
            Purpose.DMARC,
            ("v=DMARC1; p=none", "v=DMARC1; p=reject"),
            Verdict.WRONG,
            "2 such records",
        ),
        (Purpose.DMARC, ("v=dmarc1; p=none",), Verdict.WRONG, "begin with v=DMARC1"),
        (Purpose.DMARC, ("v=DMARC1; rua=mailto:x@y.test",), Verdict.WRONG, "p= must be"),
        (Purpose.DMARC, ("v=DMARC1; p=none; rua=x@y.test",), Verdict.WRONG, "rua="),
        (Purpose.TLS_RPT, ("v=TLSRPTv1; rua=https://r.test/x",), Verdict.RIGHT, ""),
        (Purpose.TLS_RPT, ("v=TLSRPTv1",), Verdict.WRONG, "rua="),
        (
            Purpose.TLS_RPT,
            ("v=TLSRPTv1;rua=mailto:a@b.test", "v=TLSRPTv1;rua=mailto:c@d.test"),
            Verdict.WRONG,
            "2 such",
        ),
        (Purpose.MTA_STS, (f"v=STSv1; id={PRESENCE.policy_id};",), Verdict.RIGHT, ""),
        (Purpose.MTA_STS, ("v=STSv1; id=20240101",), Verdict.WRONG, "another policy"),
        (Purpose.MTA_STS, ("v=STSv1; id=2024-01",), Verdict.WRONG, "does not read"),
        (Purpose.OWNERSHIP, (" posthorn-verification=token ", "x"), Verdict.RIGHT, ""),
        (
            Purpose.OWNERSHIP,
            ("posthorn-verification=other",),
            Verdict.WRONG,
            "posthorn-verification=token",
        ),
        (Purpose.OWNERSHIP, ("x",), Verdict.MISSING, "publish posthorn-verification=token"),
    ],
)
def test_texts(purpose: Purpose, values: tuple[str, ...], verdict: Verdict, text: str) -> None:
    found, detail = said(only(purpose), *values)
    assert found is verdict, detail
    assert text in detail


def test_a_name_that_was_made_longer_by_the_editor_of_the_zone_is_noticed() -> None:
    finding = found_in(
        {("_dmarc.a.test.a.test", "TXT"): ("v=DMARC1; p=none",)}, only(Purpose.DMARC)
    )
    assert (finding.verdict, "_dmarc.a.test.a.test" in finding.detail) == (Verdict.MISSING, True)


# hosts, services, reverse names


def test_a_host_is_right_by_alias_or_by_address() -> None:
    record = only(Purpose.AUTOCONFIG)
    assert said(record, "web.post.test") == (Verdict.RIGHT, "")
    assert said(record, A_autoconfig_a_test=("192.0.2.80",)) == (Verdict.RIGHT, "")
    assert said(record, "step.test", A_autoconfig_a_test=("192.0.2.80",)) == (Verdict.RIGHT, "")
    assert said(record, "elsewhere.test", A_autoconfig_a_test=("192.0.2.99",))[0] is Verdict.WRONG
    assert said(record, A_autoconfig_a_test=("192.0.2.99",))[0] is Verdict.WRONG


@pytest.mark.parametrize(
    ("service", "values", "verdict"),
    [
        ("submission", ("10 5 587 smtp.post.test",), Verdict.RIGHT),
        ("submission", ("0 1 25 smtp.post.test",), Verdict.WRONG),
        ("submission", ("0 1 587 smtp.post.test", "1 1 587 old.test"), Verdict.WRONG),
        ("submission", ("0 0 0 .",), Verdict.WRONG),
        ("imap", ("0 1 143 imap.elsewhere.test",), Verdict.WRONG),
        ("pop3", ("0 0 110 .",), Verdict.RIGHT),
        ("pop3", ("0 1 110 pop.elsewhere.test",), Verdict.WRONG),
        ("pop3s", ("0 1 995 pop.post.test",), Verdict.RIGHT),
    ],
)
def test_services(service: str, values: tuple[str, ...], verdict: Verdict) -> None:
    assert said(only(Purpose.SERVICE, f"_{service}._tcp.a.test"), *values)[0] is verdict


def test_reverse_names_must_lead_back() -> None:
    record = only(Purpose.PTR, "25.2.0.192.in-addr.arpa")
    assert said(record, "out.post.test") == (Verdict.RIGHT, "")
    verdict, detail = said(record, "host25.isp.test", A_host25_isp_test=("192.0.2.25",))
    assert (verdict, "out.post.test" in detail) == (Verdict.RIGHT, True)
    assert said(record, "out.post.test", A_out_post_test=("192.0.2.26",))[0] is Verdict.WRONG
