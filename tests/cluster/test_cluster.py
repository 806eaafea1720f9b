"""Nothing that got 250 is lost or doubled and nobody is refused for good, whatever is done to the
release.

``make cluster`` runs it against the cluster that KUBECONFIG names; docs/reliability.md says how.
"""

from __future__ import annotations

import pytest

from tests.cluster.cluster_env import ClusterEnv
from tests.cluster.kubectl import await_that
from tests.cluster.ledger import Account
from tests.cluster.phases import PHASES

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(7200)]


_WRONG = ("altered", "lost", "late", "repeated")


def test_helm_test_passes_and_its_log_is_there(env: ClusterEnv) -> None:
    said = env.release.test()
    for name in ("IMAP", "POP3"):
        assert f"the same bytes were read by {name}" in said


@pytest.mark.parametrize("name", PHASES)
def test_phase(env: ClusterEnv, name: str) -> None:
    if env.settings.phases and not any(word in name for word in env.settings.phases):
        return
    env.begin(name)
    try:
        PHASES[name](env)
    except BaseException as fault:
        env.explain(name, fault)
        raise


def test_the_canary_has_its_messages(env: ClusterEnv) -> None:
    def found() -> bool:
        counts = env.canary_messages()
        assert not any(count for (_, outcome), count in counts.items() if outcome in _WRONG), counts
        return all(counts.get((path, "arrived")) for path in ("mx", "submission"))

    await_that("the canary has read messages of both paths", found, 120)


def test_nothing_is_lost_doubled_or_refused_for_good(result: Account) -> None:
    assert result.complaints() == []
