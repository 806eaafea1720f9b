"""DMARC aggregate reports, in the forms of RFC 9990 (Appendix A) and RFC 7489 (Appendix C).

Rules:

- The XML parser refuses document types and entities; depth, the length of a value and the number
  of records are bounded.
- Element names count without their namespace: reports have none, that of a draft, or one of their
  own. Unknown elements are ignored. Tags of XML Schema, which some reporters leave in, are removed.
- Of a report whose XML breaks off, the records that are complete count, if its metadata is there.
- A word that the RFC does not know becomes the one it stands for (``hardfail`` is ``fail``), or the
  one that says least.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from xml.parsers import expat

from posthorn.wire.reports.unpacking import ReportError

MOST_RECORDS = 10_000
"""Records of a report that are read."""
_MOST_RESULTS = 20
_DEEPEST = 20
_LONGEST = 500
"""Characters of a value."""
_MOST_COUNT = 2**40
_LATEST = 2**33
_SCHEMA_TAG = re.compile(rb"</?xs:[^>]{0,2000}>")
_DISPOSITIONS = frozenset({"none", "quarantine", "reject", "pass"})


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a receiver did not apply the policy (RFC 9990 §3.1.1.8)."""

    type: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class AuthResult:
    """A result of SPF or of a DKIM signature, unaligned."""

    domain: str
    result: str
    selector: str = ""
    """Of DKIM."""
    scope: str = ""
    """Of SPF: ``mfrom`` or ``helo``."""


@dataclass(frozen=True, slots=True)
class DmarcRecord:
    """Messages of one source that were judged alike."""

    source: str
    """IP address."""
    count: int
    disposition: str
    """``none``, ``quarantine``, ``reject`` or ``pass``."""
    dkim: str
    """``pass`` or ``fail``, aligned."""
    spf: str
    header_from: str = ""
    envelope_from: str = ""
    reasons: tuple[Reason, ...] = ()
    dkim_results: tuple[AuthResult, ...] = ()
    spf_results: tuple[AuthResult, ...] = ()


@dataclass(frozen=True, slots=True)
class PublishedPolicy:
    """The policy that the receiver found."""

    domain: str = ""
    p: str = ""
    sp: str = ""
    np: str = ""
    adkim: str = ""
    aspf: str = ""
    testing: str = ""
    """``y`` or ``n``."""
    discovery_method: str = ""
    """``psl`` or ``treewalk``."""


@dataclass(frozen=True, slots=True)
class DmarcReport:
    """An aggregate report."""

    reporter: str
    """``org_name``."""
    email: str
    report_id: str
    begin: int
    """Seconds since the epoch."""
    end: int
    policy: PublishedPolicy = field(default_factory=PublishedPolicy)
    records: tuple[DmarcRecord, ...] = ()
    extra_contact: str = ""
    generator: str = ""
    is_complete: bool = True
    """False if the XML broke off, or records were left out for the limit."""


def parse_dmarc(content: bytes) -> DmarcReport:
    """Return the report in an unpacked XML document. Raises ReportError."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.ExternalEntityRefHandler = _refuse
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.buffer_text = True
    text = _SCHEMA_TAG.sub(b"", content.lstrip(b"\xef\xbb\xbf \t\r\n"))
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        reader.is_complete = False
        fault = f"the XML breaks off: {expat.ErrorString(error.code)}"
    except (LookupError, ValueError) as error:
        if isinstance(error, ReportError):
            raise
        raise ReportError("the XML has an unknown encoding") from error
    else:
        fault = "it has no report metadata"
    if not reader.is_feedback:
        raise ReportError("the content is not an aggregate report")
    if reader.report is None:
        raise ReportError(fault)
    return replace(
        reader.report,
        policy=reader.policy,
        records=tuple(reader.records),
        generator=reader.generator or reader.report.generator,
        is_complete=reader.is_complete,
    )


def _refuse(*_: object) -> int:
    raise ReportError("the XML declares a document type or entities")


class _Reader:
    """Takes the parser's events. ``values`` holds the texts of the open group's children."""

    def __init__(self) -> None:
        self.is_feedback = False
        self.is_complete = True
        self.report: DmarcReport | None = None
        self.policy = PublishedPolicy()
        self.generator = ""
        self.records: list[DmarcRecord] = []
        self._path: list[str] = []
        self._pieces: list[str] = []
        self._length = 0
        self._values: dict[str, str] = {}
        self._group: dict[str, str] = {}
        self._reasons: list[Reason] = []
        self._dkim: list[AuthResult] = []
        self._spf: list[AuthResult] = []

    def start(self, name: str, _: object) -> None:
        if len(self._path) >= _DEEPEST:
            raise ReportError("the XML is nested too deeply")
        local = name.rpartition(":")[2].lower()
        if not self._path:
            self.is_feedback = local == "feedback"
        self._path.append(local)
        self._pieces, self._length = [], 0
        if local in ("record", "report_metadata", "policy_published"):
            self._values = {}
            self._reasons, self._dkim, self._spf = [], [], []
        if local in ("reason", "dkim", "spf"):
            self._group = {}

    def text(self, data: str) -> None:
        if self._length < _LONGEST:
            self._pieces.append(data[: _LONGEST - self._length])
            self._length += len(data)

    def end(self, _: str) -> None:
        local = self._path.pop()
        value = _clean("".join(self._pieces))
        self._pieces, self._length = [], 0
        if not self.is_feedback:
            return
        parent = self._path[-1] if self._path else ""
        if (handler := _GROUPS.get(local)) and (
            local not in ("dkim", "spf") or parent == "auth_results"
        ):
            handler(self)
            return
        if parent in ("reason", "dkim", "spf"):
            self._group.setdefault(local, value)
        elif local == "generator" and len(self._path) == 1:
            self.generator = value
        else:
            self._values.setdefault(local, value)

    def end_reason(self) -> None:
        if len(self._reasons) < _MOST_RESULTS:
            group = self._group
            self._reasons.append(Reason(group.get("type", "other"), group.get("comment", "")))

    def end_dkim(self) -> None:
        if len(self._dkim) < _MOST_RESULTS:
            group = self._group
            self._dkim.append(
                AuthResult(
                    _domain(group.get("domain", "")),
                    _result(group.get("result", "")),
                    selector=group.get("selector", ""),
                )
            )

    def end_spf(self) -> None:
        if len(self._spf) < _MOST_RESULTS:
            group = self._group
            self._spf.append(
                AuthResult(
                    _domain(group.get("domain", "")),
                    _result(group.get("result", "")),
                    scope=group.get("scope", ""),
                )
            )

    def end_record(self) -> None:
        values = self._values
        if len(self.records) >= MOST_RECORDS:
            self.is_complete = False
            return
        try:
            source = str(ipaddress.ip_address(values.get("source_ip", "").strip("[]")))
        except ValueError:
            self.is_complete = False
            return
        disposition = values.get("disposition", "").lower()
        self.records.append(
            DmarcRecord(
                source=source,
                count=_number(values.get("count", "1"), _MOST_COUNT),
                disposition=disposition if disposition in _DISPOSITIONS else "none",
                dkim="pass" if _result(values.get("dkim", "")) == "pass" else "fail",
                spf="pass" if _result(values.get("spf", "")) == "pass" else "fail",
                header_from=_domain(values.get("header_from", "")),
                envelope_from=_domain(values.get("envelope_from", "")),
                reasons=tuple(self._reasons),
                dkim_results=tuple(self._dkim),
                spf_results=tuple(self._spf),
            )
        )

    def end_metadata(self) -> None:
        values = self._values
        self.report = DmarcReport(
            reporter=values.get("org_name", ""),
            email=values.get("email", ""),
            report_id=values.get("report_id", ""),
            begin=_number(values.get("begin", "0"), _LATEST),
            end=_number(values.get("end", "0"), _LATEST),
            extra_contact=values.get("extra_contact_info", ""),
            generator=values.get("generator", ""),
        )

    def end_policy(self) -> None:
        values = self._values
        self.policy = PublishedPolicy(
            domain=_domain(values.get("domain", "")),
            **{
                name: values.get(name, "").lower()
                for name in ("p", "sp", "np", "adkim", "aspf", "testing", "discovery_method")
            },
        )


_GROUPS: dict[str, Callable[[_Reader], None]] = {
    "reason": _Reader.end_reason,
    "dkim": _Reader.end_dkim,
    "spf": _Reader.end_spf,
    "record": _Reader.end_record,
    "report_metadata": _Reader.end_metadata,
    "policy_published": _Reader.end_policy,
}


def _clean(value: str) -> str:
    """Return the value without control characters and outer blanks."""
    return "".join(each for each in value if each.isprintable()).strip()


def _domain(value: str) -> str:
    return value.lower().rstrip(".")


def _result(value: str) -> str:
    word = value.lower()
    return {"hardfail": "fail", "": "none", "unknown": "permerror", "error": "temperror"}.get(
        word, word[:20]
    )


def _number(value: str, most: int) -> int:
    """Return a number of at least 0; 0 for what is none. Some write decimals."""
    digits = re.match(r"\d{1,15}", value)
    return min(int(digits[0]), most) if digits else 0
