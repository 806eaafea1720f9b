"""The cache of filter policies: one policy for each pair of entries, and bounded."""

from __future__ import annotations

from posthorn.adapters.nats.policy_cache import PolicyCache
from posthorn.model.directory_entry import AddressEntry, DomainEntry, RecipientStatus
from posthorn.model.filter_policy import DEFAULT_POLICY, FilterPolicy


def _address(score: float) -> AddressEntry:
    return AddressEntry(RecipientStatus.DELIVERABLE, policy={"junk_score": score})


def test_each_pair_of_entries_has_its_policy() -> None:
    cache = PolicyCache(most=2)
    domain = DomainEntry(None, True, None, {"greylist": True})
    one, other = _address(3.0), _address(4.0)
    assert cache.policy(DomainEntry(None, True), None) is DEFAULT_POLICY
    for _ in range(2):
        assert cache.policy(domain, one) == FilterPolicy(junk_score=3.0, greylist=True)
        assert cache.policy(domain, other) == FilterPolicy(junk_score=4.0, greylist=True)
        assert cache.policy(None, one) == FilterPolicy(junk_score=3.0)
        assert cache.policy(domain, None) == FilterPolicy(greylist=True)


def test_only_the_policies_used_last_are_kept() -> None:
    cache = PolicyCache(most=2)
    first, second, third = _address(1.0), _address(2.0), _address(3.0)
    kept = cache.policy(None, first)
    dropped = cache.policy(None, second)
    assert cache.policy(None, first) is kept
    cache.policy(None, third)
    assert cache.policy(None, first) is kept
    assert cache.policy(None, second) is not dropped
