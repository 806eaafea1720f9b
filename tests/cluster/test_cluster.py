"""Nothing that got 250 is lost or doubled and nobody is refused for good, whatever is done to the release.

``make cluster`` runs it against the cluster that KUBECONFIG names; docs/reliability.md says how.
"""

from __future__ import annotations

import pytest

from tests.cluster.ledger import Account
from tests.cluster.phases import PHASES
from tests.cluster.scene import Scene

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(7200)]


def test_helm_test_passes_and_its_log_is_there(scene: Scene) -> None:
    said = scene.release.test()
    assert "the same octets were read" in said


@pytest.mark.parametrize("name", PHASES)
def test_phase(scene: Scene, name: str) -> None:
    if scene.settings.phases and not any(word in name for word in scene.settings.phases):
        return
    scene.begin(name)
    try:
        PHASES[name](scene)
    except BaseException as fault:
        scene.explain(name, fault)
        raise


def test_nothing_is_lost_doubled_or_refused_for_good(result: Account) -> None:
    assert result.complaints() == []
