"""What the API decides about the DNS of domains: what to publish, what is published, and whose a
domain is.

Rules:

- A check looks everything up anew, at once where it can, and ends within CHECK_SECONDS whatever the
  name servers do: what is not known by then is said to be unknown. A tenant has a few checks under
  way at a time (``runtime.fair_slots``).
- What stands in a foreign zone is data to be shown: it decides what else is asked for only within
  the bounds of ``model``.
- A domain is verified by its TXT record, or by asking for it where the tenant's domains need not
  be.
- Whoever shows that a domain is its own takes it from a tenant that has only named it. That is
  always shown, whatever the tenant's domains need, by a record that holds a token of this tenant
  and domain.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn.model.dns_answers import Answers, Failed, Question, Wanted
from posthorn.model.dns_findings import Finding, Verdict, judge
from posthorn.model.dns_records import (
    Need,
    Presence,
    Purpose,
    Record,
    SigningKey,
    claim_token,
    records_of,
)
from posthorn.ports.api_keys import ApiKey
from posthorn.ports.domains import Domain
from posthorn.ports.errors import Conflict, NotFound, Unavailable
from posthorn.ports.resolver import LookupFailed, Records
from posthorn.ports.signing import DkimKey
from posthorn.runtime.fair_slots import FairSlots
from posthorn.runtime.holders import present_holder
from posthorn.runtime.outage import Outage
from posthorn.wire.auth.spf_record import spf_records
from posthorn_api.credentials.service import CredentialService, state_of
from posthorn_api.directory.service import DirectoryService

log = structlog.get_logger()

LOOKUP_SECONDS = 5.0
CHECK_SECONDS = 15.0
"""What one lookup and all lookups of a check may take."""
PEEK_SECONDS = 2.0
"""How long the list of records waits for the SPF record that the domain has already."""
_LOOKUPS_AT_ONCE = 64
CHECKS_AT_ONCE, CHECKS_AT_ONCE_EACH = 16, 4
_LEAST_SECONDS = 2.0
_MOST_ROUNDS = 40
_MOST_FOUND = 500

_lookups = Counter("posthorn_api_dns_lookups_total", "Lookups for checks of domains", ["outcome"])


@dataclass(frozen=True, slots=True)
class ToPublish:
    """The DNS records that a domain needs."""

    domain: Domain
    records: tuple[Record, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found of it."""

    domain: Domain
    at: datetime
    findings: tuple[tuple[Record, Finding], ...]
    notes: tuple[str, ...]

    @property
    def is_right(self) -> bool:
        """Whether everything is that is required."""
        return all(
            finding.verdict is Verdict.RIGHT
            for record, finding in self.findings
            if record.need is Need.REQUIRED
        )


class Verdicts(Protocol):
    """Where checks go."""

    async def keep(self, checked: Checked) -> None:
        """Take a check."""
        ...

    async def check_all(self, tenant: UUID | None, owner: str | None) -> int:
        """Have the domains that a tenant sees, or those of ``owner``, checked in the background.
        Return how many are due."""
        ...


class DnsService:
    """Raises NotFound, ValidationFailed and Conflict for the caller's faults, Unavailable for
    ours."""

    def __init__(
        self,
        service: DirectoryService,
        identity: CredentialService,
        records: Records,
        presence: Presence,
        verdicts: Verdicts | None = None,
    ) -> None:
        """``verdicts``: where checks go."""
        self._verdicts = verdicts
        self._service = service
        self._identity = identity
        self._records = records
        self.presence = presence
        self._outage = Outage("no name can be looked up", "names are looked up again", "error")
        self.slots = FairSlots(
            "checks of domains",
            CHECKS_AT_ONCE,
            most_each=CHECKS_AT_ONCE_EACH,
            spare=4,
            wait_seconds=CHECK_SECONDS,
        )

    async def to_publish(self, caller: ApiKey, name: str) -> ToPublish:
        """Return the records; the SPF record that is there, if it can be learnt soon, is merged
        with ours."""
        domain, keys, notes = await self._known(caller, name)
        # one look-up, and a short one: it needs no slot
        inquiry = _Inquiry(self._records, PEEK_SECONDS)
        await inquiry.ask(frozenset({(domain.name, "TXT")}))
        texts = inquiry.known[domain.name, "TXT"]
        if isinstance(texts, Failed):
            notes.append(
                "Whether the domain has an SPF record already cannot be known now; if so, add to that one."
            )
            texts = ()
        return ToPublish(domain, self._of(domain, keys, spf_records(texts)), tuple(notes))

    def of_new(self, domain: Domain, keys: Sequence[DkimKey]) -> tuple[Record, ...]:
        """Return the records for a domain just created. Looks nothing up: ``to_publish`` merges
        an SPF record that is there."""
        return self._of(domain, _signing_keys(keys, datetime.now(UTC)), ())

    async def check(self, caller: ApiKey, name: str) -> Checked:
        """Look everything up, and compare."""
        domain, keys, notes = await self._known(caller, name)
        deadline = time.monotonic() + CHECK_SECONDS
        async with self.slots.hold(present_holder()):
            inquiry = _Inquiry(self._records, max(deadline - time.monotonic(), _LEAST_SECONDS))
            records = self._of(domain, keys, ())
            found = await asyncio.gather(
                *(self._judge(inquiry, domain.name, record) for record in records)
            )
            if fault := await self._resolver_fault(inquiry):
                notes.append(
                    "The resolver that Posthorn asks fails, whatever it is asked for, so nothing is known of"
                    f" the domain's records: {fault}"
                )
        findings = tuple(zip(records, found, strict=True))
        log.info(
            "checked",
            domain=domain.name,
            right=sum(each.verdict is Verdict.RIGHT for each in found),
        )
        checked = Checked(domain, datetime.now(UTC), findings, tuple(notes))
        if self._verdicts is not None:
            await self._verdicts.keep(checked)
        return checked

    async def check_all(self, caller: ApiKey, owner: str | None = None) -> int:
        """Have the domains that the caller sees, or those of ``owner``, checked in the background.
        Return how many are due."""
        return 0 if self._verdicts is None else await self._verdicts.check_all(caller.tenant, owner)

    async def verify(self, caller: ApiKey, name: str) -> Domain:
        """Have the domain take mail once its ownership is shown. Raises Conflict while it is
        not."""
        try:
            domain = await self._service.domain(caller, name)
        except NotFound:
            if caller.tenant is None:
                raise
            name = await self._service.claimable(caller.tenant, name)
            await self._check_shown(name, claim_token(caller.tenant, name))
            return await self._service.claim_domain(
                caller.tenant, name, await self._identity.new_keys(name)
            )
        if domain.verified_at is not None:
            return domain
        if domain.must_be_verified:
            if domain.verification_token is None:
                raise Conflict(
                    f"the domain {domain.name} has no verification token; delete it and create it again"
                )
            await self._check_shown(domain.name, domain.verification_token)
        return await self._service.verify_domain(caller, domain.name)

    async def _resolver_fault(self, inquiry: _Inquiry) -> str:
        """Return why the resolver answers nothing; empty if it does, for other names at least."""
        fault = ""
        if inquiry.has_failed:
            try:
                async with asyncio.timeout(LOOKUP_SECONDS):
                    await self._records.records(".", "NS")
            except LookupFailed as failure:
                fault = str(failure)
            except TimeoutError:
                fault = "NS of .: no answer in time"
        if fault:
            self._outage.begin(detail=fault)
        else:
            self._outage.end()
        return fault

    async def _check_shown(self, name: str, token: str) -> None:
        """Raise Conflict unless the domain's TXT record holds the token, Unavailable when that
        cannot be known."""
        found = records_of(name, self.presence, (), token, ())
        record = next(one for one in found if one.purpose is Purpose.OWNERSHIP)
        async with self.slots.hold(present_holder()):
            finding = await self._judge(_Inquiry(self._records, CHECK_SECONDS), name, record)
        if finding.verdict is Verdict.UNKNOWN:
            raise Unavailable("dns", finding.detail)
        if finding.verdict is not Verdict.RIGHT:
            raise Conflict(f"the ownership of {name} is not verified: {finding.detail}")

    async def _known(self, caller: ApiKey, name: str) -> tuple[Domain, list[SigningKey], list[str]]:
        domain = await self._service.domain(caller, name)
        now = datetime.now(UTC)
        known = await self._identity.dkim(caller, name)
        keys = _signing_keys(
            [key for key in known if key.published_until is None or key.published_until > now], now
        )
        notes = []
        if not any(key.state != "retired" for key in keys):
            notes.append(
                "The domain has no DKIM key, so its mail is not signed: rotate its keys to make one"
            )
        if domain.verified_at is None:
            notes.append(
                "The domain takes and sends no mail yet: publish the record of ownership, then verify"
                " the domain"
            )
        return domain, keys, notes

    def _of(
        self, domain: Domain, keys: Sequence[SigningKey], spf: Sequence[str]
    ) -> tuple[Record, ...]:
        token = domain.verification_token if domain.verified_at is None else None
        return records_of(domain.name, self.presence, keys, token, spf)

    async def _judge(self, inquiry: _Inquiry, domain: str, record: Record) -> Finding:
        for _ in range(_MOST_ROUNDS):
            try:
                finding = judge(domain, self.presence, record, Answers(inquiry.known))
            except Wanted as wanted:
                await inquiry.ask(wanted.questions)
            else:
                return finding
        return Finding(Verdict.UNKNOWN, (), "names lead to names without end")


def _signing_keys(keys: Sequence[DkimKey], now: datetime) -> list[SigningKey]:
    return [
        SigningKey(
            key.selector, key.algorithm, key.public_key, state_of(key, now), key.published_until
        )
        for key in keys
    ]


class _Inquiry:
    """The lookups of one check: each is made once, however many records want it."""

    def __init__(self, records: Records, seconds: float) -> None:
        self.known: dict[Question, tuple[str, ...] | Failed] = {}
        self._records = records
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._asking: dict[Question, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(_LOOKUPS_AT_ONCE)

    @property
    def has_failed(self) -> bool:
        """Whether there is no answer at all."""
        return all(isinstance(each, Failed) for each in self.known.values())

    async def ask(self, questions: frozenset[Question]) -> None:
        """Have all of them answered, or failed."""
        for question in questions - self._asking.keys():
            self._asking[question] = asyncio.create_task(self._look_up(*question))
        await asyncio.gather(*(self._asking[question] for question in questions))

    async def _look_up(self, name: str, kind: str) -> None:
        answer: tuple[str, ...] | Failed = Failed(f"{kind} of {name}: no answer in time")
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._deadline), self._room:
                async with asyncio.timeout(LOOKUP_SECONDS):
                    try:
                        answer = tuple((await self._records.records(name, kind))[:_MOST_FOUND])
                    except LookupFailed as failure:
                        answer = Failed(str(failure))
        _lookups.labels("failed" if isinstance(answer, Failed) else "answered").inc()
        self.known[name, kind] = answer
