"""Failures of hosts to satisfy an MTA-STS policy: counted and logged as RFC 8460 §4.3 classifies
them."""

from __future__ import annotations

import structlog
from prometheus_client import Counter

from posthorn.wire.mta_sts import Mode
from posthorn_relay.smtp.types import StsRequirement, TlsResult

_failures = Counter(
    "posthorn_relay_mta_sts_failures_total",
    "Hosts that did not satisfy an MTA-STS policy, by its mode and the kind of failure (RFC 8460, 4.3)",
    ["mode", "result"],
)

log = structlog.get_logger()


def note_failure(sts: StsRequirement, host: str, result: TlsResult, why: str) -> None:
    """Count and log that a host does not satisfy a policy."""
    _failures.labels((Mode.ENFORCE if sts.enforced else Mode.TESTING).value, result.value).inc()
    log.warning(
        "a host does not satisfy the mta-sts policy",
        domain=sts.domain,
        host=host,
        enforced=sts.enforced,
        result=result.value,
        why=why,
    )
