"""How many copies are in quarantine is measured by the one process that does the rounds."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import REGISTRY

from posthorn.ports.retention import Step
from posthorn_delivery.collector_settings import CollectorSettings
from posthorn_delivery.retention import RetentionSweeper


class _Store:
    """A store with nothing to delete."""

    leads = True

    async def lead(self, seconds: float) -> bool:
        return self.leads

    async def entries(self) -> int:
        return 0

    async def expire(self, limit: int) -> Step:
        return Step(0, is_over=True)

    expire_quarantine = purge = expire

    async def quarantined(self) -> Mapping[str, int]:
        return {"score": 7, "something-new": 1}


def _measured(reason: str) -> float | None:
    return REGISTRY.get_sample_value("posthorn_delivery_quarantined_copies", {"reason": reason})


async def test_copies_in_quarantine_are_measured_by_reason_and_by_the_leader_alone() -> None:
    store = _Store()
    sweeper = RetentionSweeper(store, CollectorSettings())
    await sweeper.round()
    assert (_measured("score"), _measured("something-new")) == (7, 1)
    assert _measured("virus") == 0, "growth from nothing must show"
    store.leads = False
    await sweeper.round()
    assert _measured("score") is None, "it would be counted twice"
