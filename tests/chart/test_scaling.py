"""The number of pods, where an autoscaler or ``kubectl scale`` has a say besides the values."""

from __future__ import annotations

from typing import Any

import helm_python
import pytest

from tests.chart.cluster import Cluster
from tests.chart.rendering import at, merged

ALWAYS = at("secrets.generate", "always")  # this cluster keeps none
HELM = ("helm", "Apply", True)
HELM_WITHOUT = ("helm", "Apply", False)
HELM_3 = ("helm", "Update", True)
KUBECTL = ("kubectl", "Update", True)
AUTOSCALER = ("kube-controller-manager", "Update", True)
RESTARTED = ("kubectl-rollout", "Update", False)

SCALED: dict[str, dict[str, Any]] = {
    part: at(f"{part}.autoscaling", {"enabled": True, "minReplicas": 2})
    for part in ("smtpIn", "submission", "pop3", "imap", "api")
} | {
    part: at(f"{part}.keda", {"enabled": True, "minReplicas": 2}) for part in ("delivery", "relay")
}
"""Each part that can be scaled by itself, and the values that do it."""

NAMES = {"smtpIn": "smtp-in"}


def number(cluster: Cluster, name: str, values: dict[str, Any]) -> int | None:
    """The number of pods that the chart asks for; None when it leaves it open."""
    return numbers(cluster, values)[name]


def numbers(cluster: Cluster, values: dict[str, Any]) -> dict[str, int | None]:
    """The same of every Deployment."""
    found = cluster.render(merged(ALWAYS, values)).by_kind("Deployment")
    return {name: deployment["spec"].get("replicas") for name, deployment in found.items()}


def test_turning_autoscaling_on_keeps_the_pods_that_there_are(cluster: Cluster) -> None:
    names = [f"posthorn-{NAMES.get(part, part)}" for part in SCALED]
    for there, owners, asked in (
        (3, (HELM, RESTARTED), 3),
        (1, (HELM,), 2),  # its least
        (0, (HELM,), 2),  # an autoscaler does nothing for none
    ):
        for name in names:
            cluster.scaled(name, there, *owners)
        found = numbers(cluster, merged(*SCALED.values()))
        assert {name: found[name] for name in names} == dict.fromkeys(names, asked)


def test_what_the_autoscaler_has_set_is_left_alone(cluster: Cluster) -> None:
    for owners in ((HELM, AUTOSCALER), (HELM_WITHOUT, AUTOSCALER), (HELM, KUBECTL)):
        cluster.scaled("posthorn-pop3", 7, *owners)
        assert number(cluster, "posthorn-pop3", SCALED["pop3"]) is None


def test_helm_3_says_the_number_that_there_is(cluster: Cluster) -> None:
    # its patch would take the number away, and the API server would set 1
    cluster.scaled("posthorn-pop3", 7, HELM_3, AUTOSCALER)
    assert number(cluster, "posthorn-pop3", SCALED["pop3"]) == 7


def test_a_first_install_leaves_the_number_to_the_autoscaler(cluster: Cluster) -> None:
    assert number(cluster, "posthorn-pop3", SCALED["pop3"]) is None
    assert number(cluster, "posthorn-pop3", {}) == 1


@pytest.mark.parametrize(
    "owners", [(HELM, KUBECTL), (HELM_WITHOUT, AUTOSCALER)], ids=["kubectl", "autoscaler"]
)
def test_a_number_that_helm_could_not_set_is_refused_before_anything_is_sent(
    cluster: Cluster, owners: tuple[tuple[str, str, bool], ...]
) -> None:
    cluster.scaled("posthorn-smtp-in", 6, *owners)
    with pytest.raises(helm_python.HelmError) as refusal:
        cluster.render(ALWAYS)
    said = str(refusal.value)
    assert "smtpIn.replicas: posthorn-smtp-in was scaled to 6 by other means" in said
    assert "Give smtpIn.replicas=6" in said
    assert "kubectl --namespace mail scale deployment posthorn-smtp-in --replicas 2" in said
    assert number(cluster, "posthorn-smtp-in", at("smtpIn.replicas", 6)) == 6
    cluster.scaled("posthorn-smtp-in", 2, *owners)
    assert number(cluster, "posthorn-smtp-in", {}) == 2


@pytest.mark.parametrize(
    "owners", [(HELM,), (HELM_3, KUBECTL), (HELM, RESTARTED)], ids=["helm", "helm 3", "restarted"]
)
def test_a_number_that_helm_can_set_is_set(
    cluster: Cluster, owners: tuple[tuple[str, str, bool], ...]
) -> None:
    cluster.scaled("posthorn-smtp-in", 6, *owners)
    assert number(cluster, "posthorn-smtp-in", {}) == 2
    cluster.scaled("posthorn-smtp-in", 0, *owners)
    assert number(cluster, "posthorn-smtp-in", {}) == 2


def test_a_store_that_was_scaled_is_told_too(cluster: Cluster) -> None:
    cluster.scaled("posthorn-nats", 3, HELM, KUBECTL, kind="StatefulSet")
    with pytest.raises(helm_python.HelmError) as refusal:
        cluster.render(ALWAYS)
    said = str(refusal.value)
    assert "nats.bundled: posthorn-nats was scaled to 3 by other means" in said
    assert (
        "First run: kubectl --namespace mail scale statefulset posthorn-nats --replicas 1" in said
    )
