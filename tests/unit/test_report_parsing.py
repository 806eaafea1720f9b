"""Automatic reports as the world sends them: DMARC aggregates, TLS-RPT and ARF."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zipfile
from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.reports.abuse import parse_abuse
from posthorn.wire.reports.dmarc import (
    MOST_RECORDS,
    AuthResult,
    DmarcRecord,
    DmarcReport,
    PublishedPolicy,
    Reason,
    parse_dmarc,
)
from posthorn.wire.reports.dmarc_xml import NAMESPACE, compose_dmarc, file_name
from posthorn.wire.reports.tls import TlsFailure, TlsPolicy, TlsReport, compose_tls, parse_tls
from posthorn.wire.reports.unpacking import (
    UNPACKED_LIMIT,
    ReportError,
    attachments,
    unpacked,
)

_RECORD = """
<record><row><source_ip>{ip}</source_ip><count>{count}</count>
<policy_evaluated><disposition>{disposition}</disposition><dkim>{dkim}</dkim><spf>pass</spf>{more}
</policy_evaluated></row>
<identifiers><header_from>News.Example.test</header_from></identifiers>
<auth_results><dkim><domain>example.test</domain><selector>s1</selector><result>{dkim}</result></dkim>
<spf><domain>mail.example.test</domain><scope>mfrom</scope><result>hardfail</result></spf>
</auth_results></record>"""
_HEAD = """
<report_metadata><org_name>Receiver</org_name><email>dmarc@receiver.test</email>
<report_id>abc-1</report_id><date_range><begin>1764288000</begin><end>1764374399</end></date_range>
</report_metadata>
<policy_published><domain>example.test</domain><p>reject</p><sp>none</sp><adkim>r</adkim><aspf>s</aspf>
<pct>100</pct></policy_published>"""


def _record(ip: str = "192.0.2.7", count: str = "3", more: str = "", **words: str) -> str:
    words = {"disposition": "none", "dkim": "pass"} | words
    return _RECORD.format(ip=ip, count=count, more=more, **words)


def _report(*records: str, root: str = "<feedback>") -> bytes:
    return f'<?xml version="1.0"?>{root}{_HEAD}{"".join(records)}</feedback>'.encode()


class TestDmarcReports:
    """Aggregate reports in."""

    def test_a_report_of_rfc_7489(self) -> None:
        report = parse_dmarc(_report(_record(more="<reason><type>forwarded</type></reason>")))
        assert (report.reporter, report.report_id) == ("Receiver", "abc-1")
        assert (report.begin, report.end) == (1764288000, 1764374399)
        assert report.policy == PublishedPolicy("example.test", "reject", "none", "", "r", "s")
        assert report.is_complete
        [record] = report.records
        assert record == DmarcRecord(
            "192.0.2.7",
            3,
            "none",
            "pass",
            "pass",
            header_from="news.example.test",
            reasons=(Reason("forwarded"),),
            dkim_results=(AuthResult("example.test", "pass", selector="s1"),),
            spf_results=(AuthResult("mail.example.test", "fail", scope="mfrom"),),
        )

    @pytest.mark.parametrize(
        "root",
        [
            f'<feedback xmlns="{NAMESPACE}">',
            '<feedback xmlns="http://dmarc.org/dmarc-xml/0.1">',
            '<feedback><xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">',
        ],
    )
    def test_namespaces_and_left_over_schema_tags_do_not_matter(self, root: str) -> None:
        assert len(parse_dmarc(_report(_record(), root=root)).records) == 1

    def test_a_prefix_and_a_byte_order_mark_do_not_matter(self) -> None:
        text = _report(_record()).replace(b"<", b"<ns0:").replace(b"<ns0:/", b"</ns0:")
        text = text.replace(b'<ns0:?xml version="1.0"?>', b"")
        assert len(parse_dmarc(b"\xef\xbb\xbf\r\n" + text).records) == 1

    def test_trap_25_the_new_disposition_and_unknown_words(self) -> None:
        report = parse_dmarc(
            _report(
                _record(disposition="pass"),
                _record(disposition="", dkim="hardfail"),
                _record(disposition="Quarantine", dkim="pass"),
            )
        )
        assert [each.disposition for each in report.records] == ["pass", "none", "quarantine"]
        assert [each.dkim for each in report.records] == ["pass", "fail", "pass"]

    def test_xml_that_breaks_off_keeps_what_is_complete(self) -> None:
        text = _report(_record(), _record(ip="192.0.2.8"))
        for broken in (text[:-200], text.replace(b"</feedback>", b"</report>"), text + b"<x>"):
            report = parse_dmarc(broken)
            assert not report.is_complete
            assert report.records[0].source == "192.0.2.7"

    def test_trap_25_a_broken_metadata_tag_is_refused_with_the_reason(self) -> None:
        with pytest.raises(ReportError, match="breaks off"):
            parse_dmarc(_report(_record()).replace(b"</report_id>", b"/report_id>"))

    @pytest.mark.parametrize("content", [b"unused", b"", b"{}", b"<html><body/></html>"])
    def test_what_is_no_report_is_refused(self, content: bytes) -> None:
        with pytest.raises(ReportError):
            parse_dmarc(content)

    @pytest.mark.parametrize(
        "prolog",
        [
            '<!DOCTYPE feedback [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>',
            '<!DOCTYPE feedback SYSTEM "http://192.0.2.1/x.dtd">',
            '<!DOCTYPE f [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        ],
    )
    def test_trap_25_document_types_and_entities_are_refused(self, prolog: str) -> None:
        with pytest.raises(ReportError, match="document type"):
            parse_dmarc(prolog.encode() + _report(_record())[21:])

    def test_depth_and_records_and_values_are_bounded(self) -> None:
        with pytest.raises(ReportError, match="nested"):
            parse_dmarc(b"<feedback>" + b"<a>" * 30)
        short = "<record><row><source_ip>192.0.2.1</source_ip></row></record>"
        report = parse_dmarc(_report(short * (MOST_RECORDS + 1)))
        assert (len(report.records), report.is_complete) == (MOST_RECORDS, False)
        assert len(parse_dmarc(_report().replace(b"Receiver", b"r" * 9000)).reporter) == 500

    def test_a_record_without_an_address_is_left_out(self) -> None:
        report = parse_dmarc(_report(_record(ip="unknown"), _record(count="1.0")))
        assert [each.count for each in report.records] == [1]
        assert not report.is_complete

    @given(st.binary(max_size=400), st.integers(0, 2000))
    def test_anything_else_is_a_report_error(self, junk: bytes, place: int) -> None:
        text = _report(_record())
        with suppress(ReportError):
            parse_dmarc(text[:place] + junk + text[place:])


class TestWrittenDmarcReports:
    """Aggregate reports out (RFC 9990)."""

    def test_what_is_written_is_read_again(self) -> None:
        report = DmarcReport(
            "mx.example.test",
            "postmaster@example.test",
            "r<1>&2",
            1764288000,
            1764374399,
            PublishedPolicy(
                "author.test", "reject", "none", "quarantine", "r", "s", "n", "treewalk"
            ),
            (
                DmarcRecord(
                    "2001:db8::1",
                    7,
                    "quarantine",
                    "fail",
                    "pass",
                    header_from="a.author.test",
                    envelope_from="bounce.author.test",
                    reasons=(Reason("local_policy", 'arc "x" & <y>'),),
                    dkim_results=(AuthResult("d.test", "fail", selector="s"),),
                    spf_results=(AuthResult("bounce.author.test", "pass", scope="mfrom"),),
                ),
                DmarcRecord("192.0.2.1", 1, "pass", "pass", "fail", header_from="author.test"),
            ),
            generator="Posthorn 1",
        )
        text = compose_dmarc(report)
        assert parse_dmarc(text) == report
        assert f'xmlns="{NAMESPACE}"'.encode() in text
        # the null reverse-path is left out, and so is every other element without text
        assert b"<envelope_from></envelope_from>" not in text
        assert text.count(b"<envelope_from>") == 1
        name = file_name("mx.example.test", report)
        assert name == "mx.example.test!author.test!1764288000!1764374399.xml.gz"


class TestUnpacking:
    """How reports are packed."""

    def test_trap_25_gzip_zip_and_plain_whatever_the_media_type(self) -> None:
        text, packed = _report(_record()), io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("folder/", b"")
            archive.writestr("report.xml", text)
        for content in (text, gzip.compress(text), packed.getvalue()):
            assert unpacked(content) == text
        two = gzip.compress(text[:100]) + gzip.compress(text[100:])
        assert unpacked(two) == text

    def test_trap_25_yahoos_unused_is_no_report(self) -> None:
        content = base64.b64decode("H4sIAKImTmQAAyvNKy1OTQEA+UgslAYAAAA=")
        with pytest.raises(ReportError):
            parse_dmarc(unpacked(content))

    def test_trap_25_the_unpacked_size_is_bounded(self) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("report.xml", bytes(UNPACKED_LIMIT // 4))
        for bomb in (gzip.compress(bytes(UNPACKED_LIMIT // 4)), packed.getvalue()):
            with pytest.raises(ReportError, match="more than"):
                unpacked(bomb)
        with pytest.raises(ReportError, match="larger"):
            unpacked(b"<" * (UNPACKED_LIMIT + 1))

    @given(st.binary(max_size=200), st.sampled_from([b"\x1f\x8b\x08", b"PK\x03\x04", b""]))
    def test_damaged_files_are_report_errors(self, junk: bytes, start: bytes) -> None:
        with suppress(ReportError):
            unpacked(start + junk)

    def test_the_attachments_of_a_message(self) -> None:
        message = (
            b"From: a@receiver.test\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
            b"--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
            b'--b\r\nContent-Type: application/octet-stream; name="r!e!1!2.xml.gz"\r\n'
            b"Content-Transfer-Encoding: base64\r\n\r\n"
            + base64.encodebytes(gzip.compress(_report(_record()))).replace(b"\n", b"\r\n")
            + b"--b--\r\n"
        )
        text, report = attachments(message)
        assert text.content == b"hello"
        assert report.name == "r!e!1!2.xml.gz"
        assert parse_dmarc(unpacked(report.content)).records[0].count == 3


class TestTlsReports:
    """TLS-RPT (RFC 8460)."""

    def test_what_is_written_is_read_again(self) -> None:
        report = TlsReport(
            "Example",
            "mailto:postmaster@example.test",
            "2025-11-28-x",
            1764288000,
            1764374399,
            (
                TlsPolicy(
                    "sts",
                    "partner.test",
                    5,
                    2,
                    (TlsFailure("certificate-expired", 2, "192.0.2.1", "mx.partner.test"),),
                    ("version: STSv1", "mode: enforce"),
                    ("mx.partner.test",),
                ),
            ),
        )
        text = compose_tls(report)
        assert parse_tls(text) == report
        document = json.loads(text)
        assert document["date-range"]["start-datetime"] == "2025-11-28T00:00:00Z"
        summary = document["policies"][0]["summary"]
        assert summary == {
            "total-successful-session-count": 5,
            "total-failure-session-count": 2,
        }

    def test_trap_25_missing_fields_are_left_empty(self) -> None:
        document = {
            "policies": [
                {"summary": {"total-failure-session-count": "4"}, "failure-details": [{}, 5]},
                7,
            ]
        }
        report = parse_tls(json.dumps(document).encode())
        assert (report.begin, report.organization) == (0, "")
        [policy] = report.policies
        assert (policy.domain, policy.failures, len(policy.details)) == ("", 4, 1)

    @pytest.mark.parametrize("content", [b"[]", b"{}", b"unused", b'{"policies": {}}', b"[" * 9999])
    def test_what_is_no_report_is_refused(self, content: bytes) -> None:
        with pytest.raises(ReportError):
            parse_tls(content)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=10,
        )
    )
    def test_any_value_may_be_anywhere(self, value: object) -> None:
        document = {
            "date-range": {"start-datetime": value},
            "policies": [
                {"policy": value},
                {"policy": {"policy-string": value}, "summary": value, "failure-details": value},
                {"failure-details": [{"failed-session-count": value, "result-type": value}]},
            ],
        }
        parse_tls(json.dumps(document).encode())


_OURS = UUID("01950000-0000-7000-8000-000000000001")
_ARF = b"""\
From: <feedback@provider.test>
Content-Type: multipart/report; report-type=feedback-report; boundary=b

--b
Content-Type: text/plain

complaint
--b
Content-Type: message/feedback-report

%s
--b
Content-Type: %s

Received: from mail.example.test by mx.provider.test id 99
Received: from unknown by mail.example.test with HTTP
\tid 01950000-0000-7000-8000-000000000001 for <reader@provider.test>;
\tFri, 28 Nov 2025 00:00:00 +0000
Message-ID: <added@program.test>
Message-ID: <0199@example.test>
From: News <news@example.test>
%s
--b--
"""


def _arf(fields: bytes, original: bytes = b"", kind: bytes = b"text/rfc822-headers") -> bytes:
    return (_ARF % (fields, kind, original)).replace(b"\n", b"\r\n")


class TestComplaints:
    """ARF (RFC 5965)."""

    @pytest.mark.parametrize("kind", [b"text/rfc822-headers", b"message/rfc822"])
    def test_a_complaint_with_all_fields(self, kind: bytes) -> None:
        fields = (
            b"Feedback-Type: abuse\nUser-Agent: Loop/1\nVersion: 1\n"
            b"Original-Rcpt-To: <Reader@provider.test>\nOriginal-Mail-From: <b@example.test>\n"
            b"Source-IP: 192.0.2.1\nReported-Domain: Example.test"
        )
        found = parse_abuse(_arf(fields, kind=kind, original=b"\nthe text"))
        assert found.is_complaint
        assert found.recipients[0] == "Reader@provider.test"
        assert found.messages == (_OURS,)
        assert found.message_id == "0199@example.test"
        assert (found.reverse_path, found.reported_domain) == ("b@example.test", "example.test")

    def test_trap_27_microsofts_three_fields_and_a_header_alone(self) -> None:
        found = parse_abuse(
            _arf(
                b"Feedback-Type: abuse\nUser-Agent: 7/1\nVersion: 1",
                b"X-HmXmrOriginalRecipient: reader@provider.test",
            )
        )
        assert found.recipients == ("reader@provider.test",)
        assert found.messages == (_OURS,)

    def test_trap_27_not_spam_is_no_complaint(self) -> None:
        assert not parse_abuse(_arf(b"Feedback-Type: not-spam")).is_complaint

    def test_a_message_sent_by_the_api_is_known_by_its_message_id(self) -> None:
        text = _arf(b"Feedback-Type: abuse").replace(
            b"0199@example.test", str(_OURS).encode() + b"@example.test"
        )
        text = text.replace(b"id 01950000-", b"id x")
        assert parse_abuse(text).messages == (_OURS,)

    def test_a_message_without_a_report_is_refused(self) -> None:
        with pytest.raises(ReportError):
            parse_abuse(b"From: a@b.test\r\n\r\nhello\r\n")

    @given(st.binary(max_size=300), st.integers(0, 900))
    def test_anything_else_is_a_report_error(self, junk: bytes, place: int) -> None:
        text = _arf(b"Feedback-Type: abuse")
        with suppress(ReportError):
            parse_abuse(text[:place] + junk + text[place:])
