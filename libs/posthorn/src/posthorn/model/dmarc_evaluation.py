"""What DMARC found of a message, as it is counted for the report to the author's domain (RFC 9990).

Rules:

- Counted is what strangers send (role ``mx``), if the record that was used names a mailbox for
  reports, and if the check could be made. Reports themselves are not counted, so that two hosts do
  not report each other's reports for ever.
- The null reverse-path is left out of the report (an empty element is not valid).
- A message that was delivered though ``p=reject`` applies was filed by a local decision.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from posthorn.model.envelope import Envelope
from posthorn.model.verdict import Verdict
from posthorn.wire.auth.results import Outcome, Policy
from posthorn.wire.reports.dmarc import AuthResult, DmarcRecord, Reason

_MOST_RESULTS = 5
"""DKIM signatures of a message that are reported."""
_LONGEST = 255
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True, slots=True)
class DmarcEvaluation:
    """One message, judged."""

    domain: str
    """Whose record was used."""
    record: str
    """The record, as published."""
    facts: str
    """The rest, as a JSON object: equal for messages that are counted together."""

    @property
    def digest(self) -> bytes:
        """A hash of record and facts."""
        return hashlib.sha256(f"{self.record}\n{self.facts}".encode()).digest()[:16]


def evaluation_of(envelope: Envelope) -> DmarcEvaluation | None:
    """Return what is counted of a message that is delivered; None for nothing."""
    verdict = envelope.verdict
    if envelope.role != "mx" or verdict is None or verdict.report is not None:
        return None
    dmarc = verdict.authentication.dmarc
    if not dmarc.report_to or not dmarc.record or not dmarc.record_domain:
        return None
    if dmarc.outcome not in (Outcome.PASS, Outcome.FAIL):
        return None
    disposition, reason, comment = _disposition(verdict)
    facts = {
        "ip": _plain(envelope.client_address),
        "from": _plain(dmarc.domain),
        "env": _plain(envelope.reverse_path.rpartition("@")[2].lower()),
        "disposition": disposition,
        "dkim": dmarc.dkim_aligned,
        "spf": dmarc.spf_aligned,
        "reason": [reason, comment] if reason else [],
        "dkims": [
            [_plain(each.domain), _plain(each.selector), each.outcome.value]
            for each in verdict.authentication.dkim[:_MOST_RESULTS]
            if each.domain and each.selector
        ],
        "spfs": [
            [
                _plain(each.domain),
                "helo" if each.identity == "helo" else "mfrom",
                each.outcome.value,
            ]
            for each in verdict.authentication.spf[-1:]
        ],
    }
    return DmarcEvaluation(
        dmarc.record_domain, dmarc.record, json.dumps(facts, separators=(",", ":"))
    )


def reported(facts: Mapping[str, Any], messages: int) -> DmarcRecord:
    """Return the record of a report for so many messages with these facts."""
    return DmarcRecord(
        source=facts["ip"],
        count=messages,
        disposition=facts["disposition"],
        dkim="pass" if facts["dkim"] else "fail",
        spf="pass" if facts["spf"] else "fail",
        header_from=facts["from"],
        envelope_from=facts["env"],
        reasons=(Reason(*facts["reason"]),) if facts["reason"] else (),
        dkim_results=tuple(
            AuthResult(domain, result, selector=selector)
            for domain, selector, result in facts["dkims"]
        ),
        spf_results=tuple(
            AuthResult(domain, result, scope=scope) for domain, scope, result in facts["spfs"]
        ),
    )


def _disposition(verdict: Verdict) -> tuple[str, str, str]:
    """Return the disposition, and the type and comment of an override (RFC 9990 §3.1.1.8)."""
    dmarc = verdict.authentication.dmarc
    if dmarc.outcome is Outcome.PASS:
        return "pass", "", ""
    applied = dmarc.applied or Policy.NONE
    if applied is not Policy.NONE and verdict.trusted_sealer:
        return "none", "trusted_forwarder", _plain(f"arc={verdict.trusted_sealer}")
    if applied is Policy.REJECT:
        return "quarantine", "local_policy", "accepted and filed"
    if dmarc.is_testing and dmarc.published is not applied:
        return applied.value, "policy_test_mode", ""
    return applied.value, "", ""


def _plain(text: str) -> str:
    """Return a stranger's text in printable ASCII: a document with NUL is not stored, and the
    message with it would not be either."""
    return _UNPRINTABLE.sub("?", text)[:_LONGEST]
