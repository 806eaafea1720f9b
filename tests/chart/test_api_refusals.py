"""Values that the API server alone would refuse, after other objects of the release were
changed, are refused by the chart."""

from __future__ import annotations

from typing import Any

import helm_python
import pytest

from tests.chart.refusing import Faults, said_by_the_guard
from tests.chart.rendering import CASES, at, chart, merged, render, values_of

PARTS = ("smtpIn", "submission", "delivery", "scan", "relay", "pop3", "imap", "api")
PUBLIC = ("smtpIn", "submission", "pop3", "imap")
STORES = ("postgresql", "nats", "s3")

OF_A_PART: list[tuple[str, Any]] = [
    ("resources", {"requests": {"cpu": "lots"}}),
    ("resources", {"requests": {"memory": "128mb"}}),
    ("resources", {"request": {"cpu": 1}}),
    ("extraEnv", [{"name": "A=B", "value": "x"}]),
    ("extraEnv", [{"name": "A", "value": 1}]),
    ("extraEnv", [{"name": "A", "valueFrom": {"secretKey": {"name": "a", "key": "b"}}}]),
    ("extraEnvFrom", [{"configMap": {"name": "a"}}]),
    ("extraVolumes", [{"name": "Data", "emptyDir": {}}]),
    ("extraVolumes", [{"name": "data", "emptydir": {}}]),
    ("extraVolumeMounts", [{"name": "data"}]),
    ("extraContainers", [{"name": "side car", "image": "x"}]),
    ("initContainers", [{"name": "first", "image": "x", "imagePullPolicy": "Sometimes"}]),
    ("podLabels", {"example.org/mail": "yes please"}),
    ("podLabels", {"Example Org": "yes"}),
    ("podLabels", {"mail": True}),
    ("podAnnotations", {"not a key!": "yes"}),
    ("annotations", {"a/b/c": "yes"}),
    ("nodeSelector", {"disk": "very fast"}),
    ("tolerations", [{"key": "a", "operator": "Is"}]),
    ("tolerations", [{"key": "a", "operator": "Exists", "effect": "Nothing"}]),
    ("affinity", {"podAntiAffinities": {}}),
    (
        "affinity",
        {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 0, "podAffinityTerm": {}}
                ]
            }
        },
    ),
    (
        "topologySpreadConstraints",
        [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "Maybe"}],
    ),
    (
        "topologySpreadConstraints",
        [{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
    ),
    ("readinessProbe", {"httpGet": {"path": "/readyz"}}),
    ("livenessProbe", {"tcpSocket": {"port": 1}, "periodSeconds": 0}),
    ("startupProbe", {"httpget": {"port": 1}}),
    ("priorityClassName", "Very_High"),
    ("tmpSize", "3GB"),
    ("image", {"tag": "has blanks"}),
    ("image", {"repository": "Posthorn/UPPER"}),
    ("replicas", "3"),
    ("replicas", 3_000_000_000),
    ("preStopSeconds", "15"),
    ("podDisruptionBudget", {"maxUnavailable": "200%"}),
]
"""Wrong in any part: refused by the schema."""

ANYWHERE: list[tuple[str, Any]] = [
    ("nameOverride", "Post Horn"),
    ("fullnameOverride", "post_horn"),
    ("commonLabels.team", "the mail team"),
    ("commonLabels", {"a b": "c"}),
    ("commonAnnotations", {"a b": "c"}),
    ("image.registry", "https://ghcr.io"),
    ("image.tag", ":1"),
    ("image.pullSecrets", ["My_Secret"]),
    ("serviceAccount.name", "Mail"),
    ("serviceAccount.annotations", {"a b": "c"}),
    ("secretKey.existingSecret", "Mail_Secret"),
    ("secretKey.key", "the key"),
    ("api.adminKey.key", "a/b"),
    ("tls.existingSecret", "TLS"),
    ("tls.certManager.duration", "90 days"),
    ("service.loadBalancerClass", "a b"),
    ("service.ipFamilies", ["IPv4", "IPv4"]),
    ("service.annotations", {"a b": "c"}),
    ("smtpIn.service.loadBalancerIP", "mx.example.org"),
    ("smtpIn.service.loadBalancerSourceRanges", ["10.0.0.0/33"]),
    ("smtpIn.service.loadBalancerSourceRanges", ["10.0.0.300/8"]),
    ("proxyProtocol.networks", ["2001:db8::/129"]),
    (
        "smtpIn.autoscaling.behavior",
        {"scaleDown": {"policies": [{"type": "Percents", "value": 1, "periodSeconds": 1}]}},
    ),
    ("smtpIn.autoscaling.behavior", {"scaledown": {}}),
    ("api.ingress.host", "Mail.example.org"),
    ("api.ingress.pageHosts", ["mta-sts.Example.org"]),
    ("api.ingress.tlsSecret", "A_B"),
    ("api.httpRoute.parentRefs", [{"namespace": "gateways"}]),
    ("api.httpRoute.parentRefs", [{"name": "web", "listener": "mail"}]),
    ("api.httpRoute.requestTimeout", "15 s"),
    ("migrations.resources.limits.memory", "lots"),
    ("migrations.annotations", {"a b": "c"}),
    ("networkPolicy.apiFrom", [{"namespaceSelectors": {}}]),
    ("networkPolicy.s3.to", [{"ipBlock": {}}]),
    ("networkPolicy.extraEgress", [{"ports": [{"port": 25, "protocol": "SMTP"}]}]),
    ("monitoring.serviceMonitor.interval", "half a minute"),
    ("monitoring.serviceMonitor.labels", {"a": "b c"}),
    ("postgresql.bundled.parameters.max_connections", "abc"),
    ("postgresql.bundled.parameters.shared_buffers", "256 megabytes"),
    ("postgresql.bundled.parameters", {"max connections": 1}),
    *((f"{store}.bundled.storage.size", "10 GiB") for store in STORES),
    *((f"{store}.bundled.storage.className", "Fast Disks") for store in STORES),
    *((f"{store}.bundled.storage.accessModes", ["ReadWriteTwice"]) for store in STORES),
    *((f"{store}.bundled.resources.limits.memory", "much") for store in STORES),
    *((f"{store}.bundled.image.tag", "a b") for store in STORES),
]

CONFLICTS: list[tuple[str, Any, str]] = [
    (
        "extraEnv",
        [{"name": "POSTHORN_GRACE_SECONDS", "value": "1"}],
        "extraEnv: POSTHORN_GRACE_SECONDS is set by the chart",
    ),
    (
        "extraEnv",
        [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
        "extraEnv: A is there twice",
    ),
    (
        "podLabels",
        {"app.kubernetes.io/component": "x"},
        "podLabels: app.kubernetes.io/component is the chart's own",
    ),
    (
        "podLabels",
        {"app.kubernetes.io/version": "x"},
        "podLabels: app.kubernetes.io/version is the chart's own",
    ),
    ("podLabels", {"posthorn.dev/part": "x"}, "podLabels: posthorn.dev/part is the chart's own"),
    (
        "extraVolumes",
        [{"name": "tmp", "emptyDir": {}}],
        "extraVolumes: there is a volume tmp already",
    ),
    (
        "extraVolumes",
        [{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}],
        "extraVolumes: there is a volume a already",
    ),
    (
        "extraVolumeMounts",
        [{"name": "ca", "mountPath": "/ca"}],
        "extraVolumeMounts: there is no volume ca to mount at /ca",
    ),
    (
        "extraVolumeMounts",
        [{"name": "tmp", "mountPath": "/tmp"}],
        "something is mounted at /tmp already",
    ),
    (
        "extraContainers",
        [{"name": "a", "image": "x"}, {"name": "a", "image": "x"}],
        "extraContainers: there is a container a already",
    ),
    (
        "initContainers",
        [{"name": "first", "image": "x", "volumeMounts": [{"name": "b", "mountPath": "/b"}]}],
        "initContainers: there is no volume b",
    ),
    (
        "readinessProbe",
        {"periodSeconds": 2},
        "readinessProbe: give one of exec, grpc, httpGet, tcpSocket",
    ),
    (
        "livenessProbe",
        {"httpGet": {"port": 1}, "tcpSocket": {"port": 1}},
        "livenessProbe: give one of exec, grpc, httpGet, tcpSocket",
    ),
    (
        "livenessProbe",
        {"tcpSocket": {"port": 1}, "successThreshold": 2},
        "livenessProbe.successThreshold: must be 1",
    ),
    (
        "topologySpreadConstraints",
        [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}] * 2,
        "topologySpreadConstraints: z, DoNotSchedule is there twice",
    ),
    (
        "resources",
        {"requests": {"memory": "2Gi"}, "limits": {"memory": "1024Mi"}},
        "resources: the request of memory, 2Gi, is more than its limit, 1024Mi",
    ),
    (
        "resources",
        {"requests": {"cpu": 1}, "limits": {"cpu": "900m"}},
        "resources: the request of cpu, 1, is more than",
    ),
    (
        "tolerations",
        [{"key": "a", "operator": "Exists", "value": "b"}],
        "tolerations: Exists takes no value",
    ),
    (
        "tolerations",
        [{"effect": "NoSchedule"}],
        "tolerations: without a key the operator must be Exists",
    ),
]
"""Each well formed and wrong together with something else: refused by the guard."""


@pytest.fixture(scope="module")
def faults() -> Faults:
    of_parts = [(f"{part}.{key}", value) for key, value in OF_A_PART for part in PARTS]
    return Faults(of_parts + ANYWHERE)


@pytest.fixture(scope="module")
def guarded() -> list[str]:
    return said_by_the_guard(
        [merged(*(at(f"{part}.{key}", value) for part in PARTS)) for key, value, _ in CONFLICTS],
        depth=2,
    )


@pytest.mark.parametrize(("key", "value"), OF_A_PART, ids=lambda part: str(part)[:50])
def test_the_schema_refuses_it_in_every_part(faults: Faults, key: str, value: Any) -> None:
    assert [part for part in PARTS if not faults.of(f"{part}.{key}", value)] == []


@pytest.mark.parametrize(("path", "value"), ANYWHERE, ids=lambda part: str(part)[:50])
def test_the_schema_refuses_it(faults: Faults, path: str, value: Any) -> None:
    assert faults.of(path, value)


@pytest.mark.parametrize(
    ("number", "message"),
    [(number, message) for number, (*_, message) in enumerate(CONFLICTS)],
    ids=lambda part: str(part)[:50],
)
def test_the_guard_refuses_it_in_every_part_and_says_so_at_once(
    guarded: list[str], number: int, message: str
) -> None:
    said = guarded[number]
    for part in PARTS:
        assert f"{part}.{message}" in said or (part in said and message in said), said
    assert said.count(message) >= len(PARTS)


def test_a_container_may_not_bear_the_service_name() -> None:
    with pytest.raises(
        helm_python.HelmError, match=r"smtpIn.extraContainers: there is a container smtp-in already"
    ):
        render(at("smtpIn.extraContainers", [{"name": "smtp-in", "image": "x"}]))


def test_a_setting_and_a_variable_of_the_same_name_are_refused() -> None:
    values = {
        "settings": {"POSTHORN_SMTP_MESSAGE_MAX_BYTES": 1},
        "smtpIn": {"extraEnv": [{"name": "POSTHORN_SMTP_MESSAGE_MAX_BYTES"}]},
    }
    with pytest.raises(
        helm_python.HelmError,
        match=r"smtpIn\.extraEnv: POSTHORN_SMTP_MESSAGE_MAX_BYTES is set by the chart",
    ):
        render(values)


def test_resources_of_stores_and_migrations_are_looked_at_too() -> None:
    much = {"requests": {"memory": "8Gi"}}
    with pytest.raises(helm_python.HelmError) as refusal:
        render(
            merged(
                at("migrations.resources", much),
                *(at(f"{store}.bundled.resources", much) for store in STORES),
            )
        )
    for place in ("migrations", *(f"{store}.bundled" for store in STORES)):
        assert f"{place}.resources: the request of memory, 8Gi, is more than its limit" in str(
            refusal.value
        )


def test_two_services_cannot_have_one_node_port() -> None:
    values = merged(
        at("service.type", "NodePort"),
        at("smtpIn.service.nodePorts.smtp", 30025),
        at("pop3.service.nodePorts.pop3", 30025),
    )
    with pytest.raises(
        helm_python.HelmError,
        match=r"nodePorts\.\w+: 30025 is \w+\.service\.nodePorts\.\w+'s already",
    ):
        render(values)


def test_a_release_whose_name_makes_no_name_of_a_service_is_refused() -> None:
    with pytest.raises(helm_python.HelmError, match=r"fullnameOverride: give one: 1mail-posthorn"):
        chart().render({"capabilities": {"kubeVersion": "1.37"}}, name="1mail", namespace="mail")


@pytest.mark.parametrize(
    "values",
    [
        at(
            "smtpIn.resources",
            {"requests": {"cpu": 1, "memory": "1e3"}, "limits": {"cpu": "1.5", "memory": "512Mi"}},
        ),
        at("smtpIn.resources", {"requests": {"cpu": "500m"}, "limits": {"cpu": 1, "memory": "1G"}}),
        at("smtpIn.resources", {}),
        at("smtpIn.resources.limits.memory", None),
        at("smtpIn.tolerations", [{"operator": "Exists"}]),
        at("smtpIn.livenessProbe", {"exec": {"command": ["true"]}}),
        at(
            "smtpIn.podAnnotations",
            {"cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": ""},
        ),
        at("commonLabels", {"app.kubernetes.io/part-of": "mail"}),
        at(
            "postgresql.bundled.parameters",
            {"max_connections": "300", "shared_buffers": "1GB", "jit": False},
        ),
        *(values_of(case) for case in CASES),
    ],
    ids=lambda values: str(values)[:50],
)
def test_what_the_api_server_takes_is_taken(values: dict[str, Any]) -> None:
    assert render(values).objects
