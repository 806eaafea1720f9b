"""What a check of DNS comes to: stored with the domain, and an event when it has changed."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import structlog

from posthorn.model.dns_findings import Finding, Verdict
from posthorn.model.dns_records import Need, Record
from posthorn.model.events import DNS_CHANGED, Event
from posthorn.ports.dns_checks import DnsCheck, DnsChecks, DnsState, RecordVerdict
from posthorn.ports.errors import Unavailable
from posthorn.ports.events import Events
from posthorn.runtime.ids import new_id
from posthorn_api.dns.service import Checked

log = structlog.get_logger()

_SPREAD: Final = 0.1
"""Part of the period by which checks are spread, so that they do not stay together."""
_MOST_NAMED: Final = 20
_LEAST_SECONDS: Final = 300.0
"""Seconds for which a check is new: a wish to check all leaves the domain out."""


def state_of(findings: Sequence[tuple[Record, Finding]]) -> DnsState:
    """Return the verdict on all required records."""
    required = {finding.verdict for record, finding in findings if record.need is Need.REQUIRED}
    if required & {Verdict.MISSING, Verdict.WRONG}:
        return DnsState.WRONG
    return DnsState.UNKNOWN if Verdict.UNKNOWN in required else DnsState.RIGHT


class StoredVerdicts:
    """Stores checks. A failed store is logged: the check itself is good."""

    def __init__(self, checks: DnsChecks, events: Events, every_seconds: float) -> None:
        """``every_seconds``: from one check in the background to the next."""
        self._checks = checks
        self._events = events
        self._every_seconds = every_seconds

    async def keep(self, checked: Checked) -> None:
        """Store a check, and record an event if the domain has become right or wrong by it."""
        check = DnsCheck(
            state_of(checked.findings),
            checked.at,
            tuple(_verdict(record, finding) for record, finding in checked.findings),
        )
        again = self._every_seconds * random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311
        name = checked.domain.name
        try:
            before = await self._checks.store(name, check, again)
        except Unavailable as fault:
            log.warning("a check of DNS is not stored", domain=name, part=fault.part)
            return
        if (
            before is None
            or before.known is None
            or check.state in (DnsState.UNKNOWN, before.known)
        ):
            return
        log.info("DNS changed", domain=name, before=before.known, state=check.state)
        detail: dict[str, Any] = {
            "domain": name,
            "tenant": str(before.tenant),
            "state": check.state.value,
            "before": before.known.value,
            "records": [
                {"purpose": each.purpose, "name": each.name, "verdict": each.verdict}
                for each in check.records
                if each.need == Need.REQUIRED.value and each.verdict != Verdict.RIGHT.value
            ][:_MOST_NAMED],
        }
        self._events.record(Event(new_id(), time.time(), DNS_CHANGED, detail))

    async def check_all(self, tenant: UUID | None, owner: str | None) -> int:
        """Have the domains that a tenant sees, or those of ``owner``, checked in the background.
        Return how many are due. Raises ValidationFailed and Unavailable."""
        return await self._checks.check_all(tenant, owner, _LEAST_SECONDS)


def _verdict(record: Record, finding: Finding) -> RecordVerdict:
    return RecordVerdict(
        record.purpose.value, record.name, record.type, record.need.value, finding.verdict.value
    )
