"""Findings: published DNS records compared with the wanted ones, and how to correct them.

Rules:

- A lookup that fails makes a record unknown, never missing or wrong.
- Records are compared by meaning: names case-insensitively, TXT strings joined, DKIM keys by their
  bytes, SPF by the senders it permits. An equivalent form is right.
- A CNAME at the domain itself excludes other records there: that is reported first, since it must
  be fixed first.
- Every text is for the owner of the domain: what is published, what is wanted, what to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import ip_network

from posthorn.model.dns_answers import Answers, Unanswered
from posthorn.model.dns_records import Presence, Purpose, Record
from posthorn.model.ip_addresses import is_address
from posthorn.model.spf_record import allows, merged, survey
from posthorn.model.tagged_record import is_same_key, parse_tags
from posthorn.wire.auth.spf_macros import SpfError
from posthorn.wire.auth.spf_record import MOST_LOOKUPS, Network, parse_spf, spf_records
from posthorn.wire.mta_sts import policy_id

_MOST_NAMES = 10  # of an address


class Verdict(Enum):
    """Verdict on a record."""

    RIGHT = "right"
    MISSING = "missing"
    WRONG = "wrong"
    UNKNOWN = "unknown"
    """The lookup failed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The finding on a record."""

    verdict: Verdict
    found: tuple[str, ...] = ()
    detail: str = ""
    """The problem and how to correct it; may be empty when the record is right."""
    suggestion: tuple[str, ...] = ()
    """Values to publish instead of those found, where they differ from the record's."""


@dataclass(frozen=True, slots=True)
class _Case:
    domain: str
    presence: Presence
    record: Record
    answers: Answers
    found: tuple[str, ...]

    def right(self, detail: str = "") -> Finding:
        return Finding(Verdict.RIGHT, self.found, detail)

    def wrong(self, *faults: str, suggestion: tuple[str, ...] = ()) -> Finding:
        return Finding(Verdict.WRONG, self.found, "; ".join(faults), suggestion)

    def missing(self, detail: str = "") -> Finding:
        """Report a missing record; also check whether it was published under a name to which the
        zone's editor appended the domain."""
        record = self.record
        shown = ", ".join(record.values)
        text = detail or f"there is no {record.type} record at {record.name}; publish {shown}"
        doubled = f"{record.name}.{self.domain}"
        if record.purpose is not Purpose.PTR and record.name != self.domain and len(doubled) <= 253:
            try:
                if self.answers.get(doubled, record.type):
                    text += f"; there is one at {doubled}: the zone's editor adds the domain by itself, so enter the name without"
            except Unanswered:
                pass  # it was a guess
        return Finding(Verdict.MISSING, self.found, text)


def judge(domain: str, presence: Presence, record: Record, answers: Answers) -> Finding:
    """Return the finding on a record. Raises Wanted."""
    if record.name == domain and record.purpose is not Purpose.PTR:
        answers.need((domain, record.type), (domain, "CNAME"))
    found: tuple[str, ...] = ()
    try:
        found = answers.get(record.name, record.type)
        finding = _JUDGES[record.purpose](_Case(domain, presence, record, answers, found))
    except Unanswered as failure:
        finding = Finding(Verdict.UNKNOWN, found, f"it cannot be known now: {failure}")
    return _with_alias(domain, record, answers, finding) if record.name == domain else finding


def _with_alias(domain: str, record: Record, answers: Answers, finding: Finding) -> Finding:
    """Add to the finding on a record at the domain itself that a CNAME there excludes it."""
    try:
        target = answers.get(domain, "CNAME") if record.purpose is not Purpose.PTR else ()
    except Unanswered:
        return finding
    if not target:
        return finding
    alias = f"{domain} is itself an alias (CNAME) for {target[0]}, beside which no other record can stand (RFC 1034 §3.6.2)"
    if finding.verdict is Verdict.RIGHT:
        text = f"{alias}: what is found is of {target[0]}, and changes with it; better remove the CNAME and publish the record"
        return replace(finding, detail="; ".join(filter(None, (finding.detail, text))))
    verdict = Verdict.UNKNOWN if finding.verdict is Verdict.UNKNOWN else Verdict.WRONG
    text = (
        f"{alias}: what is found is of {target[0]}; remove the CNAME (for a web site at the bare name publish A and AAAA records,"
        f" or what the zone's host calls ALIAS, ANAME or flattening), then publish {', '.join(record.values)}"
    )
    return replace(finding, verdict=verdict, detail="; ".join(filter(None, (text, finding.detail))))


def _ownership(case: _Case) -> Finding:
    wanted = case.record.values[0]
    if wanted in (text.strip() for text in case.found):
        return case.right()
    prefix = wanted.partition("=")[0]
    if any(text.startswith(prefix) for text in case.found):
        return case.wrong(f"the value is another; it must be {wanted}")
    return replace(case.missing(), found=())


def _mx(case: _Case) -> Finding:
    wanted = [value.partition(" ")[2] for value in case.record.values]
    found = [value.partition(" ")[2] for value in case.found]
    if not found:
        return case.missing()
    faults = []
    if "." in found:
        faults.append(
            "the null MX (`0 .`) says that the domain takes no mail (RFC 7505); remove it"
        )
    others = [host for host in found if host not in wanted and host != "."]
    for host in others:
        if is_address(host):
            faults.append(
                f"{host} is an address, and an MX names a host (RFC 5321 §5.1); remove it"
            )
        else:
            faults.append(f"mail may also go to {host}; remove it once nothing is to arrive there")
    lacking = [value for value in case.record.values if value.partition(" ")[2] not in found]
    if lacking:
        faults.append(f"add {', '.join(lacking)}")
    there = [host for host in wanted if host in found]
    case.answers.need(*((host, kind) for host in there for kind in ("CNAME", "A", "AAAA")))
    unknown: Unanswered | None = None
    for host in there:
        try:
            if case.answers.get(host, "CNAME"):
                faults.append(
                    f"{host} is an alias (CNAME), which an MX must not name (RFC 2181 §10.3)"
                )
            elif not case.answers.addresses(host):
                faults.append(f"{host} has no address")
        except Unanswered as failure:
            unknown = failure
    if faults:
        return case.wrong(*faults)
    if unknown is not None:
        raise unknown
    return case.right()


def _spf(case: _Case) -> Finding:
    presence, records = case.presence, tuple(spf_records(case.found))
    case = replace(case, found=records)
    suggestion = (merged(records, presence.spf_mechanisms),)
    if not records:
        return case.missing()
    if len(records) > 1:
        return case.wrong(
            f"there are {len(records)} SPF records, and receivers take none of them then (RFC 7208 §4.5); make one of them",
            suggestion=suggestion,
        )
    try:
        record = parse_spf(records[0])
        cost = survey(case.domain, case.answers)
        if cost.lookups > MOST_LOOKUPS:
            return case.wrong(
                f"it takes more than {MOST_LOOKUPS} lookups, at which receivers give up (RFC 7208 §4.6.4); remove includes that are"
                " not needed, or name addresses in their place"
            )
        if record.rest == "+":
            return case.wrong(
                "+all lets everybody send as the domain; end with ~all or -all",
                suggestion=suggestion,
            )
        if not _covers(case, cost.includes):
            return case.wrong(
                f"it does not let mail from here through; add {' '.join(presence.spf_mechanisms)}",
                suggestion=suggestion,
            )
    except SpfError as error:
        return case.wrong(f"receivers cannot use it: {error}")
    except Unanswered as failure:
        return Finding(Verdict.UNKNOWN, records, f"it cannot be known now: {failure}")
    if record.rest == "?" or (record.rest is None and record.redirect is None):
        return case.right("it says nothing of mail from elsewhere; end it with ~all or -all")
    return case.right()


def _covers(case: _Case, includes: frozenset[str]) -> bool:
    presence, answers = case.presence, case.answers
    if presence.spf_include is not None and presence.spf_include in includes:
        return True
    sources: list[Network] = list(presence.networks)
    if not sources and presence.spf_include is None:
        answers.need(*((host, kind) for host in presence.mx for kind in ("A", "AAAA")))
        sources = [
            ip_network(address) for host in presence.mx for address in answers.addresses(host)
        ]
    return bool(sources) and all(allows(case.domain, source, answers) == "+" for source in sources)


def _dkim(case: _Case) -> Finding:
    if not case.found:
        return case.missing()
    if len(case.found) > 1:
        return case.wrong(
            f"there are {len(case.found)} TXT records, and no receiver can tell which one counts; leave one"
        )
    wanted, tags = parse_tags(case.record.values[0]), parse_tags(case.found[0])
    mend = "publish the wanted value"
    if tags is None or wanted is None or "p" not in tags:
        return case.wrong(f"it is no DKIM record; {mend}")
    if tags.get("v", "DKIM1") != "DKIM1" or ("v" in tags and next(iter(tags)) != "v"):
        return case.wrong(f"v=DKIM1 must come first, or be left out; {mend}")
    text, right = re.sub(r"\s", "", tags["p"]), wanted["p"]
    if not text:
        return case.wrong(f"p= is empty, which revokes the key; {mend}")
    if tags.get("k", "rsa").lower() != wanted["k"]:
        return case.wrong(
            f"the key is said to be {tags.get('k', 'rsa')}, and is {wanted['k']}; {mend}"
        )
    if not is_same_key(text, right):
        if right.startswith(text):
            return case.wrong(
                f"the key is cut short: a TXT record holds it in several strings; {mend}"
            )
        return case.wrong(f"it is another key; {mend}")
    hashes, services = tags.get("h", "sha256").split(":"), tags.get("s", "*").split(":")
    if "sha256" not in (each.strip().lower() for each in hashes):
        return case.wrong("h= does not allow sha256, with which mail is signed; remove h=")
    if not {each.strip().lower() for each in services} & {"*", "email"}:
        return case.wrong("s= does not allow mail; remove s=")
    if "y" in (each.strip().lower() for each in tags.get("t", "").split(":")):
        return case.right("t=y tells receivers that this is a test; remove it when you are sure")
    return case.right()


def _dmarc(case: _Case) -> Finding:
    found = _versioned(case, "DMARC1")
    if isinstance(found, Finding):
        return found
    tags = parse_tags(found)
    if tags is None or next(iter(tags)) != "v":
        return case.wrong("it does not read as a list of tags; publish the wanted value")
    policy = tags.get("p", "").lower()
    if policy not in ("none", "quarantine", "reject"):
        return case.wrong("p= must be none, quarantine or reject (RFC 7489 §6.3)")
    if not all(
        uri.strip().lower().startswith("mailto:") for uri in tags.get("rua", "mailto:").split(",")
    ):
        return case.wrong("rua= must name addresses as mailto:… (RFC 7489 §6.2)")
    if "rua" not in tags:
        return case.right("no rua=: nobody tells you what comes of the domain's mail")
    if policy == "none":
        return case.right(
            "p=none only watches; say quarantine or reject when the reports look good"
        )
    return case.right()


def _tls_rpt(case: _Case) -> Finding:
    found = _versioned(case, "TLSRPTv1")
    if isinstance(found, Finding):
        return found
    uris = (parse_tags(found) or {}).get("rua", "")
    if not uris or not all(
        uri.strip().lower().startswith(("mailto:", "https:")) for uri in uris.split(",")
    ):
        return case.wrong("rua= must name where reports go, as mailto:… or https:… (RFC 8460 §3)")
    return case.right()


def _mta_sts(case: _Case) -> Finding:
    found = _versioned(case, "STSv1")
    if isinstance(found, Finding):
        return found
    identifier = policy_id([found])
    if identifier is None:
        return case.wrong("it does not read as v=STSv1; id=… of letters and digits (RFC 8461 §3.1)")
    if identifier != case.presence.policy_id:
        return case.wrong(
            "the id is of another policy than the one served; publish the wanted value, so that senders fetch it anew"
        )
    return case.right()


def _versioned(case: _Case, version: str) -> str | Finding:
    """Return the only record of a version among the TXT records of the name, or the finding when
    there is not exactly one."""
    likely = re.compile(rf"\s*v\s*=\s*{version}\s*(?:;|\Z)", re.IGNORECASE)
    found = [text for text in case.found if likely.match(text)]
    if not found:
        return replace(case.missing(), found=())
    if len(found) > 1:
        return case.wrong(
            f"there are {len(found)} such records, and none of them counts then; leave one"
        )
    if not re.match(rf"v\s*=\s*{version}\s*(?:;|\Z)", found[0]):
        return case.wrong(f"it must begin with v={version}, written so")
    return found[0]


def _alias(case: _Case) -> Finding:
    name, target = case.record.name, case.record.values[0]
    if target in case.found:
        return case.right()
    answers = case.answers
    answers.need(*((host, kind) for host in (name, target) for kind in ("A", "AAAA")))
    there = answers.addresses(name)
    if there & answers.addresses(target):
        return case.right()
    shown = case.found or tuple(sorted(there))
    if not shown:
        return case.missing()
    return replace(case, found=shown).wrong(f"it leads elsewhere; let it be a CNAME for {target}")


def _service(case: _Case) -> Finding:
    wanted = case.record.values[0].split(" ")[2:]
    found = [value.split(" ")[2:] for value in case.found]
    if not found:
        return case.missing()
    if wanted[1] == ".":
        is_absent = all(each[1] == "." for each in found)
        return (
            case.right()
            if is_absent
            else case.wrong("there is no such service here; publish the wanted value")
        )
    if wanted not in found:
        return case.wrong(f"it leads elsewhere; let it lead to {wanted[1]}, port {wanted[0]}")
    if len(found) > 1:
        return case.wrong("it leads to other hosts as well; leave the wanted value only")
    return case.right()


def _reverse(case: _Case) -> Finding:
    wanted = case.record.values[0]
    own = next(
        str(network.network_address)
        for network in case.presence.networks
        if network.network_address.reverse_pointer == case.record.name
    )
    if not case.found:
        return case.missing(f"{own} has no reverse name; have its owner set {wanted}")
    names = case.found[:_MOST_NAMES]
    case.answers.need(*((name, kind) for name in names for kind in ("A", "AAAA")))
    confirmed = [name for name in names if own in case.answers.addresses(name)]
    if wanted in confirmed:
        return case.right()
    if confirmed:
        return case.right(
            f"it is not the name that mail is sent under, {wanted}; a few receivers mind"
        )
    return case.wrong(
        f"the name does not lead back to {own}; have its owner set {wanted}, and that name lead to {own}"
    )


_JUDGES: dict[Purpose, Callable[[_Case], Finding]] = {
    Purpose.OWNERSHIP: _ownership,
    Purpose.MX: _mx,
    Purpose.SPF: _spf,
    Purpose.DKIM: _dkim,
    Purpose.DMARC: _dmarc,
    Purpose.MTA_STS: _mta_sts,
    Purpose.MTA_STS_HOST: _alias,
    Purpose.TLS_RPT: _tls_rpt,
    Purpose.AUTOCONFIG: _alias,
    Purpose.AUTODISCOVER: _alias,
    Purpose.SERVICE: _service,
    Purpose.PTR: _reverse,
}
