"""DMARC: whether an authenticated domain is the author's, and what to do if not (RFC 9989).

Theory of operation: the record of the author's domain, or one above it, is found by a walk up the
tree of names (§4.10). No list of public suffixes is needed: a suffix that wants to be known as one
says ``psd=y``. Another walk for each authenticated domain that could be aligned finds out whether it
has the same organizational domain. Answers are kept for the length of a check.

Rules:

- A walk asks at most eight names: from a name of eight labels or more it jumps to seven (§4.10). It
  ends at ``psd=y`` or ``psd=n``. Several records at one name count as none.
- The identifier of SPF is MAIL FROM; for the null reverse-path it is HELO (RFC 7208 §2.4).
- Where a lookup failed that could change the result, the check neither passes nor fails and no
  policy applies (§5.3.6). That includes the lookups of SPF and DKIM.
- Without a record nothing is enforced, but an identifier equal to the author's domain is told.
- The records of the author's domain may be looked up before the signatures are judged
  (``Records.fetch``): names that a sender chose, of which each may take the whole time there is,
  must not keep the author's policy from being found.
- Several From fields with one domain are no valid message (RFC 5322 §3.6), but a policy that fails
  applies to them: else to write the field twice would be the way round it. They never pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial

from posthorn.wire.auth.author_domains import author_domains_of
from posthorn.wire.auth.dmarc_record import DmarcRecord, is_dmarc_record, parse_dmarc
from posthorn.wire.auth.lookup import DnsUnavailable, Lookup
from posthorn.wire.auth.results import Dkim, Dmarc, Outcome, Policy, Spf

__all__ = ["Records", "author_domains_of", "check_dmarc"]

MOST_LABELS = 8
"""A name of this many labels or more is cut to one fewer after the first question (§4.10)."""
MOST_IDENTIFIERS = 10
"""Authenticated domains that are walked from, of SPF and DKIM each."""

_STEPPED_DOWN = {Policy.REJECT: Policy.QUARANTINE, Policy.QUARANTINE: Policy.NONE}

type _Found = list[tuple[str, DmarcRecord]]
"""Names with a record, in the order of a walk."""


async def check_dmarc(
    lookup: Lookup,
    author_domains: Sequence[str],
    spf: Sequence[Spf],
    dkim: Sequence[Dkim],
    records: Records | None = None,
) -> Dmarc:
    """Return the result for the author's domain.

    ``author_domains`` is what ``author_domains_of`` found; DMARC needs exactly one. ``records``:
    those that are known already. The outcome is NONE, with a reason, where DMARC does not apply.
    Never raises.
    """
    reason = _inapplicable(author_domains)
    author = _only(author_domains)
    if not author:
        return Dmarc(reason=reason)
    found = await _Check(records or Records(lookup), author, spf, dkim).run()
    return found if not reason or found.outcome is Outcome.FAIL else Dmarc(reason=reason)


def _only(author_domains: Sequence[str]) -> str:
    """Return the one domain that the From fields name; empty without one."""
    named = list(dict.fromkeys(filter(None, author_domains)))
    return "" if len(named) != 1 or named[0].startswith("[") else named[0]


def _inapplicable(author_domains: Sequence[str]) -> str:
    if not author_domains:
        return "From has no domain"
    if len(author_domains) > 1:
        is_repeated = "" in author_domains or len(set(author_domains)) < len(author_domains)
        return "there are several From fields" if is_repeated else "From has several domains"
    if author_domains[0].startswith("["):
        return "the author's domain is an address literal"
    return ""


class _Check:
    def __init__(
        self, records: Records, author: str, spf: Sequence[Spf], dkim: Sequence[Dkim]
    ) -> None:
        self._walks = records
        self._author = author
        mail_from = [each for each in spf if each.identity == "mailfrom"]
        self._spf = _identifiers(mail_from or spf)
        self._dkim = _identifiers(dkim)

    async def run(self) -> Dmarc:
        author = self._author
        result = partial(
            Dmarc,
            domain=author,
            organizational_domain=author,
            spf_aligned=(author, True) in self._spf,
            dkim_aligned=(author, True) in self._dkim,
        )
        failed = partial(result, outcome=Outcome.TEMPERROR, reason="a lookup in DNS failed")
        try:
            own = await self._walks.record_at(author)
        except DnsUnavailable:
            return failed()
        organizational: str | None = None
        try:
            found = await self._walks.walk(author)
            organizational = _organizational_domain(author, found)
            where, record = await self._applicable(organizational, found)
        except DnsUnavailable:
            if own is None:
                return failed()
            where, record = author, own
        if organizational is not None:
            result = partial(result, organizational_domain=organizational)
        if record is None:
            return result(reason="there is no DMARC record")
        if record.policy is None:
            return result(reason=f"the record of {where} has neither p= nor rua=")
        result = partial(
            result,
            record_domain=where,
            is_testing=record.is_testing,
            report_to=record.report_to,
            record=record.text,
        )
        return await self._judge(result, where, record, organizational)

    async def _applicable(
        self, organizational: str, found: _Found
    ) -> tuple[str, DmarcRecord | None]:
        """Return the record of the author's domain, else of the organizational domain, else of the
        public suffix (§4.10.1). Raises DnsUnavailable."""
        at = dict(found)
        if organizational not in at:  # a walk may have jumped over it
            record = await self._walks.record_at(organizational)
            if record is not None:
                at[organizational] = record
        suffix = [name for name, record in found if record.psd == "y"]
        for name in (self._author, organizational, *suffix):
            if name in at:
                return name, at[name]
        return "", None

    async def _judge(
        self, result: partial[Dmarc], where: str, record: DmarcRecord, organizational: str | None
    ) -> Dmarc:
        spf = await self._aligned(self._spf, organizational, is_strict=record.strict_spf)
        dkim = await self._aligned(self._dkim, organizational, is_strict=record.strict_dkim)
        result = partial(result, spf_aligned=spf is True, dkim_aligned=dkim is True)
        try:
            published = await self._policy(where, record)
        except DnsUnavailable:
            # unknown is only whether sp or np applies, which nothing depends on after a pass
            published = record.subdomain_policy or record.policy
            spf = spf or None
        result = partial(result, published=published, applied=Policy.NONE)
        if spf or dkim:
            return result(outcome=Outcome.PASS)
        if spf is None or dkim is None:
            return result(outcome=Outcome.TEMPERROR, reason="a lookup in DNS failed")
        applied = published
        if record.is_testing and published is not None:
            applied = _STEPPED_DOWN.get(published, published)
        return result(
            outcome=Outcome.FAIL,
            applied=applied,
            reason="neither SPF nor DKIM passes for the author's domain",
        )

    async def _policy(self, where: str, record: DmarcRecord) -> Policy | None:
        """Return the policy that p, sp or np states for the author's domain (§4.10.1). Raises
        DnsUnavailable."""
        if where == self._author:
            return record.policy
        policy = record.subdomain_policy or record.policy
        nonexistent = record.nonexistent_policy
        if nonexistent in (None, policy) or await self._walks.exists(self._author):
            return policy
        return nonexistent

    async def _aligned(
        self,
        identifiers: dict[tuple[str, bool], None],
        organizational: str | None,
        *,
        is_strict: bool,
    ) -> bool | None:
        """Return whether one of the identifiers is aligned (§4.4); None if that depends on a lookup
        that failed."""
        author, is_unknown = self._author, False
        if (author, True) in identifiers:
            return True
        for domain, is_authenticated in identifiers:
            if domain == author:
                is_unknown = True
            elif not is_strict:
                aligned = await self._is_related(domain, organizational)
                if aligned and is_authenticated:
                    return True
                is_unknown = is_unknown or aligned is not False
        return None if is_unknown else False

    async def _is_related(self, domain: str, organizational: str | None) -> bool | None:
        """Return whether a domain has the same organizational domain as the author."""
        if organizational is None:
            return None if _share_a_suffix(domain, self._author) else False
        if domain != organizational and not domain.endswith(f".{organizational}"):
            return False
        try:
            return _organizational_domain(domain, await self._walks.walk(domain)) == organizational
        except DnsUnavailable:
            return None


class Records:
    """Walks up the tree of names, with the answers of one check, and those of an earlier one
    (``before``) if they are recent enough for the caller."""

    def __init__(self, lookup: Lookup, before: Records | None = None) -> None:
        self._lookup = lookup
        self._failed: set[str] = set()
        if before is None:
            self._records: dict[str, DmarcRecord | None] = {}
            self._existing: set[str] = set()
            self._walked: dict[str, _Found] = {}
        else:
            self._records = before._records.copy()
            self._existing = before._existing.copy()
            self._walked = before._walked.copy()

    def is_known(self, author_domains: Sequence[str]) -> bool:
        """Return whether ``fetch`` has nothing to look up."""
        author = _only(author_domains)
        return not author or author in self._walked

    def can_be_kept(self, most_names: int) -> bool:
        """Return whether no lookup failed, and so many names at most were looked at."""
        return not self._failed and len(self._records) <= most_names

    async def fetch(self, author_domains: Sequence[str]) -> None:
        """Look up what the check of these authors needs first; never raises."""
        author = _only(author_domains)
        if author:
            with suppress(DnsUnavailable):
                await self.walk(author)

    async def record_at(self, name: str) -> DmarcRecord | None:
        """Return the one record of a name. Raises DnsUnavailable."""
        if name in self._failed:
            raise DnsUnavailable
        if name not in self._records:
            try:
                texts = await self._lookup.texts(f"_dmarc.{name}")
            except DnsUnavailable:
                self._failed.add(name)
                raise
            if texts is not None:
                self._existing.add(name)
            records = [text for text in texts or () if is_dmarc_record(text)]
            self._records[name] = parse_dmarc(records[0]) if len(records) == 1 else None
        return self._records[name]

    async def walk(self, domain: str) -> _Found:
        """Return the records from a name upwards (§4.10). Raises DnsUnavailable."""
        if (known := self._walked.get(domain)) is not None:
            return known
        found: _Found = []
        for name in _walked_names(domain):
            record = await self.record_at(name)
            if record is not None:
                found.append((name, record))
                if record.psd != "u":
                    break
        self._walked[domain] = found
        return found

    async def exists(self, name: str) -> bool:
        """Return whether a name exists (RFC 8020). Raises DnsUnavailable."""
        return name in self._existing or await self._lookup.addresses(name, v6=False) is not None


def _walked_names(domain: str) -> Iterable[str]:
    labels = domain.split(".")
    yield domain
    for left in range(min(len(labels), MOST_LABELS) - 1, 0, -1):
        yield ".".join(labels[-left:])


def _organizational_domain(domain: str, found: _Found) -> str:
    """Select the organizational domain of a name from its walk (§4.10.2)."""
    for name, record in found:
        if record.psd == "n":
            return name
        if record.psd == "y" and name != domain:
            # one label below, in the name itself: the walk may have jumped over it
            return ".".join(domain.split(".")[-(name.count(".") + 2) :])
    return found[-1][0] if found else domain


def _identifiers(results: Sequence[Spf] | Sequence[Dkim]) -> dict[tuple[str, bool], None]:
    """Return domains with True if they are authenticated, with False if a lookup failed."""
    found: dict[tuple[str, bool], None] = {}
    for result in results:
        if result.outcome in (Outcome.PASS, Outcome.TEMPERROR) and result.domain:
            found[result.domain.lower().rstrip("."), result.outcome is Outcome.PASS] = None
            if len(found) == MOST_IDENTIFIERS:
                break
    return found


def _share_a_suffix(one: str, other: str) -> bool:
    return one.rpartition(".")[2] == other.rpartition(".")[2]
