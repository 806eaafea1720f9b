"""Writes DMARC aggregate reports in the form of RFC 9990 (Appendix A): the namespace dmarc-2.0, a
selector with every DKIM result, testing and the discovery method with the policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from posthorn.wire.reports.dmarc import DmarcRecord, DmarcReport

NAMESPACE = "urn:ietf:params:xml:ns:dmarc-2.0"
_LONGEST_COMMENT = 200


def compose_dmarc(report: DmarcReport) -> bytes:
    """Return the XML document of a report."""
    return "\n".join(_lines(report)).encode() + b"\n"


def _lines(report: DmarcReport) -> Iterator[str]:
    policy = report.policy
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield f'<feedback xmlns="{NAMESPACE}">'
    yield "<version>1.0</version>"
    metadata = _elements(
        ("org_name", report.reporter),
        ("email", report.email),
        ("extra_contact_info", report.extra_contact),
        ("report_id", report.report_id),
    )
    span = _elements(("begin", str(report.begin)), ("end", str(report.end)))
    generator = _elements(("generator", report.generator))
    yield f"<report_metadata>{metadata}<date_range>{span}</date_range>{generator}</report_metadata>"
    published = _elements(
        ("domain", policy.domain),
        ("discovery_method", policy.discovery_method),
        ("p", policy.p),
        ("sp", policy.sp),
        ("np", policy.np),
        ("adkim", policy.adkim),
        ("aspf", policy.aspf),
        ("testing", policy.testing),
    )
    yield f"<policy_published>{published}</policy_published>"
    for record in report.records:
        yield _record(record)
    yield "</feedback>"


def _record(record: DmarcRecord) -> str:
    reasons = "".join(
        f"<reason>{_elements(('type', each.type), ('comment', each.comment[:_LONGEST_COMMENT]))}</reason>"
        for each in record.reasons
    )
    evaluated = _elements(
        ("disposition", record.disposition), ("dkim", record.dkim), ("spf", record.spf)
    )
    row = (
        f"{_elements(('source_ip', record.source), ('count', str(record.count)))}"
        f"<policy_evaluated>{evaluated}{reasons}</policy_evaluated>"
    )
    # the null reverse-path is left out: an empty element is not valid (mail-dmarc#141)
    identifiers = _elements(
        ("header_from", record.header_from), ("envelope_from", record.envelope_from)
    )
    dkim = "".join(
        f"<dkim>{_elements(('domain', each.domain), ('selector', each.selector), ('result', each.result))}</dkim>"
        for each in record.dkim_results
    )
    spf = "".join(
        f"<spf>{_elements(('domain', each.domain), ('scope', each.scope), ('result', each.result))}</spf>"
        for each in record.spf_results
    )
    return (
        f"<record><row>{row}</row><identifiers>{identifiers}</identifiers>"
        f"<auth_results>{dkim}{spf}</auth_results></record>"
    )


def _elements(*pairs: tuple[str, str]) -> str:
    """Return elements with text, those without text left out."""
    return "".join(f"<{name}>{_escaped(text)}</{name}>" for name, text in pairs if text)


def _escaped(text: str) -> str:
    """Return the text without characters that XML 1.0 does not allow."""
    return escape("".join(each for each in text if each.isprintable()))


def file_name(receiver: str, report: DmarcReport, suffix: Sequence[str] = ("xml", "gz")) -> str:
    """Return the name of the attachment (RFC 9990 §3.5.1)."""
    return ".".join((f"{receiver}!{report.policy.domain}!{report.begin}!{report.end}", *suffix))
