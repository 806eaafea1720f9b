"""What DMARC found of a message, as it is counted for the report to the author's domain (RFC 9990).

Rules:

- Counted is what strangers send (role ``mx``), if the record that was used names a mailbox for
  reports, and if the check could be made. Reports themselves are not counted, so that two hosts do
  not report each other's reports for ever.
- The null reverse-path is left out of the report (an empty element is not valid).
- A message that was delivered though ``p=reject`` applies was filed by a local decision. One that
  was refused for another reason than DMARC is reported as DMARC would have it.
- What smtp-in refused is no row of ours: its evaluation travels in the event ``refused``, whose
  reader counts it. That reader believes nothing: it takes what reads like an evaluation of ours.
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
_MOST_RECORD = 8192
"""Characters of a record that are read of an event."""
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
    if envelope.role != "mx" or envelope.verdict is None:
        return None
    return _evaluation(envelope.verdict, envelope.client_address, envelope.reverse_path, False)


def evaluation_of_refused(
    verdict: Verdict, client: str, reverse_path: str
) -> DmarcEvaluation | None:
    """Return what is counted of a stranger's message that is refused; None for nothing."""
    return _evaluation(verdict, client, reverse_path, True)


def encode_evaluation(evaluation: DmarcEvaluation) -> dict[str, Any]:
    """Return an evaluation as an event's detail has it."""
    return {
        "domain": evaluation.domain,
        "record": evaluation.record,
        "facts": json.loads(evaluation.facts),
    }


def decode_evaluation(document: object) -> DmarcEvaluation | None:
    """Read an evaluation; None if the document is none."""
    if not isinstance(document, dict):
        return None
    facts: Any = document.get("facts")
    try:
        domain, record = _text(document.get("domain")), _text(document.get("record"), _MOST_RECORD)
        known = {
            **{name: _text(facts[name]) for name in ("ip", "from", "env", "disposition")},
            "dkim": facts["dkim"] is True,
            "spf": facts["spf"] is True,
            "reason": [_text(each) for each in facts["reason"]][:2],
            "dkims": [[_text(each) for each in one] for one in facts["dkims"][:_MOST_RESULTS]],
            "spfs": [[_text(each) for each in one] for one in facts["spfs"][:1]],
        }
        reported(known, 1)
    except (KeyError, TypeError, ValueError):
        return None
    return DmarcEvaluation(domain, record, _encoded(known)) if domain else None


def _text(value: object, most: int = _LONGEST) -> str:
    if not isinstance(value, str):
        raise TypeError
    return _UNPRINTABLE.sub("?", value)[:most]


def _encoded(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, separators=(",", ":"))


def _evaluation(
    verdict: Verdict, client: str, reverse_path: str, is_refused: bool
) -> DmarcEvaluation | None:
    if verdict.report is not None:
        return None
    dmarc = verdict.authentication.dmarc
    if not dmarc.report_to or not dmarc.record or not dmarc.record_domain:
        return None
    if dmarc.outcome not in (Outcome.PASS, Outcome.FAIL):
        return None
    disposition, reason, comment = _disposition(verdict, is_refused)
    facts = {
        "ip": _plain(client),
        "from": _plain(dmarc.domain),
        "env": _plain(reverse_path.rpartition("@")[2].lower()),
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
    return DmarcEvaluation(dmarc.record_domain, dmarc.record, _encoded(facts))


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


def _disposition(verdict: Verdict, is_refused: bool) -> tuple[str, str, str]:
    """Return the disposition, and the type and comment of an override (RFC 9990 §3.1.1.8)."""
    dmarc = verdict.authentication.dmarc
    if dmarc.outcome is Outcome.PASS:
        return "pass", "", ""
    applied = dmarc.applied or Policy.NONE
    if applied is not Policy.NONE and verdict.trusted_sealer:
        return "none", "trusted_forwarder", _plain(f"arc={verdict.trusted_sealer}")
    if applied is Policy.REJECT and not is_refused:
        return "quarantine", "local_policy", "accepted and filed"
    if dmarc.is_testing and dmarc.published is not applied:
        return applied.value, "policy_test_mode", ""
    return applied.value, "", ""


def _plain(text: str) -> str:
    """Return a stranger's text in printable ASCII: a document with NUL is not stored, and the
    message with it would not be either."""
    return _text(text)
