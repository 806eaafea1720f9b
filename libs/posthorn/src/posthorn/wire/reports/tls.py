"""TLS-RPT reports (RFC 8460 §4): JSON, read with what is missing left empty, and written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from posthorn.wire.reports.unpacking import ReportError

MOST_POLICIES = 100
MOST_FAILURES = 1000
"""Policies of a report, and failure details of a policy, that are read."""
_LONGEST = 500
_MOST_COUNT = 2**40
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class TlsFailure:
    """Sessions that failed in one way (RFC 8460 §4.3, §4.4)."""

    result_type: str
    sessions: int
    sending_address: str = ""
    receiving_host: str = ""
    receiving_address: str = ""
    reason: str = ""
    """``failure-reason-code``."""


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """What was found under one policy."""

    type: str
    """``tlsa``, ``sts`` or ``no-policy-found``."""
    domain: str
    successes: int
    failures: int
    details: tuple[TlsFailure, ...] = ()
    text: tuple[str, ...] = ()
    """``policy-string``."""
    mx_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TlsReport:
    """A report."""

    organization: str
    contact: str
    report_id: str
    begin: int
    """Seconds since the epoch; 0: unknown."""
    end: int
    policies: tuple[TlsPolicy, ...]


def parse_tls(content: bytes) -> TlsReport:
    """Return the report in an unpacked JSON document. Raises ReportError."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ReportError("the content is not JSON") from error
    if not isinstance(document, dict) or not isinstance(document.get("policies"), list):
        raise ReportError("the content is not a TLS report")
    span = _object(document.get("date-range"))
    return TlsReport(
        organization=_text(document.get("organization-name")),
        contact=_text(document.get("contact-info")),
        report_id=_text(document.get("report-id")),
        begin=_moment(span.get("start-datetime")),
        end=_moment(span.get("end-datetime")),
        policies=tuple(
            _policy(each) for each in document["policies"][:MOST_POLICIES] if isinstance(each, dict)
        ),
    )


def compose_tls(report: TlsReport) -> bytes:
    """Return the JSON document of a report."""
    document = {
        "organization-name": report.organization,
        "date-range": {
            "start-datetime": _written(report.begin),
            "end-datetime": _written(report.end),
        },
        "contact-info": report.contact,
        "report-id": report.report_id,
        "policies": [
            {
                "policy": {
                    "policy-type": policy.type,
                    "policy-string": list(policy.text),
                    "policy-domain": policy.domain,
                    "mx-host": list(policy.mx_hosts),
                },
                "summary": {
                    "total-successful-session-count": policy.successes,
                    "total-failure-session-count": policy.failures,
                },
                "failure-details": [_failure_document(each) for each in policy.details],
            }
            for policy in report.policies
        ],
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _failure_document(failure: TlsFailure) -> dict[str, Any]:
    document = {
        "result-type": failure.result_type,
        "sending-mta-ip": failure.sending_address,
        "receiving-mx-hostname": failure.receiving_host,
        "receiving-ip": failure.receiving_address,
        "failed-session-count": failure.sessions,
        "failure-reason-code": failure.reason,
    }
    return {name: value for name, value in document.items() if value != ""}


def _policy(document: Mapping[str, Any]) -> TlsPolicy:
    policy, summary = _object(document.get("policy")), _object(document.get("summary"))
    details = document.get("failure-details")
    return TlsPolicy(
        type=_text(policy.get("policy-type")).lower(),
        domain=_text(policy.get("policy-domain")).lower().rstrip("."),
        successes=_count(summary.get("total-successful-session-count")),
        failures=_count(summary.get("total-failure-session-count")),
        details=tuple(
            _failure(each)
            for each in (details if isinstance(details, list) else [])[:MOST_FAILURES]
            if isinstance(each, dict)
        ),
        text=_texts(policy.get("policy-string")),
        mx_hosts=_texts(policy.get("mx-host")),
    )


def _failure(document: Mapping[str, Any]) -> TlsFailure:
    return TlsFailure(
        result_type=_text(document.get("result-type")).lower(),
        sessions=_count(document.get("failed-session-count")),
        sending_address=_text(document.get("sending-mta-ip")),
        receiving_host=_text(document.get("receiving-mx-hostname")),
        receiving_address=_text(document.get("receiving-ip")),
        reason=_text(document.get("failure-reason-code")),
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return _CONTROLS.sub("", value)[:_LONGEST].strip() if isinstance(value, str) else ""


def _texts(value: Any) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else [value]
    return tuple(text for each in listed[:MOST_POLICIES] if (text := _text(each)))


def _count(value: Any) -> int:
    """Return a number of at least 0. Some reporters write it as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return min(max(value, 0), _MOST_COUNT)


def _moment(value: Any) -> int:
    try:
        moment = datetime.fromisoformat(_text(value))
        return max(0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))
    except (ValueError, OverflowError):
        return 0


def _written(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
