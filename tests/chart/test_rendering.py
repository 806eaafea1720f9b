"""The chart renders for each values file, and what comes out is valid for the oldest and the
newest Kubernetes."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils as validation

from tests.chart.rendering import (
    CASES,
    CHART,
    NAMESPACE,
    NEWEST,
    OLDEST,
    Object,
    Rendered,
    at,
    case,
    render,
    values_of,
)

CUSTOM = {"Certificate", "HTTPRoute", "PrometheusRule", "ScaledObject", "ServiceMonitor"}
"""Kinds whose schemas come with operators."""


@pytest.fixture(autouse=True, scope="module")
def schemas_read_once() -> Iterator[None]:
    """The library reads megabytes of JSON for each object otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "schema_contents", functools.cache(validation.schema_contents))
        yield


def test_every_case_of_the_issue_has_a_values_file() -> None:
    assert CASES == ["default", "everything", "external", "ha", "minimal"]
    assert kubernetes_validate.latest_version().startswith(NEWEST)


@pytest.mark.parametrize("kube", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", CASES)
def test_every_object_is_valid(name: str, kube: str) -> None:
    rendered = case(name, kube)
    assert len(rendered.objects) > 10
    for found in rendered.objects:
        if found["kind"] not in CUSTOM:
            kubernetes_validate.validate(found, kube, strict=True)


def test_the_check_itself_finds_a_wrong_field() -> None:
    deployment = render().by_kind("Deployment")["posthorn-api"]
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePolicy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError, match="imagePolicy"):
        kubernetes_validate.validate(deployment, NEWEST, strict=True)


@pytest.mark.parametrize("name", CASES)
def test_lint_has_nothing_to_say(name: str) -> None:
    report = helm_python.lint(CHART, values_of(name), strict=True, namespace=NAMESPACE)
    complaints = [message for message in report["messages"] if "icon" not in message["error"]]
    assert not complaints
    assert not report["errors"]


@pytest.mark.parametrize("name", CASES)
def test_no_object_is_there_twice_and_all_are_in_the_namespace(name: str) -> None:
    rendered = case(name)
    names = Counter((found["kind"], found["metadata"]["name"]) for found in rendered.objects)
    assert [twice for twice, count in names.items() if count > 1] == []
    own = [
        found
        for found in rendered.objects
        if not found["metadata"]["name"].endswith(("-more", "-text"))
    ]
    assert {found["metadata"]["namespace"] for found in own} == {NAMESPACE}


def test_newer_fields_are_left_out_for_older_clusters() -> None:
    old, new = case("default", OLDEST), case("default", NEWEST)
    hook = "Deployment", "posthorn-smtp-in"
    commands = {
        kube: rendered.by_kind(hook[0])[hook[1]]["spec"]["template"]["spec"]["containers"][0][
            "lifecycle"
        ]["preStop"]
        for kube, rendered in ((OLDEST, old), (NEWEST, new))
    }
    assert commands[NEWEST] == {"sleep": {"seconds": 15}}
    assert commands[OLDEST]["exec"]["command"][0] == "python"
    budgets = [
        rendered.by_kind("PodDisruptionBudget")["posthorn-smtp-in"]["spec"]
        for rendered in (old, new)
    ]
    assert [budget.get("unhealthyPodEvictionPolicy") for budget in budgets] == [None, "AlwaysAllow"]


def test_an_older_cluster_is_refused_by_the_chart_itself() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"] == f">={OLDEST}.0-0"


def test_open_sessions_are_a_measure_only_where_custom_metrics_are_served() -> None:
    def measures(**more: Any) -> list[str]:
        values = {"smtpIn": {"autoscaling": {"enabled": True}}} | more
        return [
            metric["type"]
            for metric in render(values).by_kind("HorizontalPodAutoscaler")["posthorn-smtp-in"][
                "spec"
            ]["metrics"]
        ]

    assert measures() == ["Resource"]
    assert measures(capabilities={"apiVersions": ["custom.metrics.k8s.io/v1beta1"]}) == [
        "Resource",
        "Pods",
    ]


def test_a_scaled_part_has_no_number_of_pods_of_its_own() -> None:
    parts = case("everything").by_kind("Deployment")
    scaled = {
        target["spec"]["scaleTargetRef"]["name"]
        for kind in ("HorizontalPodAutoscaler", "ScaledObject")
        for target in case("everything").by_kind(kind).values()
    }
    assert (
        scaled
        == {
            f"post-{part}"
            for part in (
                "smtp-in",
                "submission",
                "pop3",
                "imap",
                "api",
                "delivery",
                "relay",
                "scan",
            )
        }
        == set(parts)
    )
    assert not [name for name, part in parts.items() if "replicas" in part["spec"]]


def test_long_names_stay_within_the_limit() -> None:
    rendered = render({"fullnameOverride": "x" * 60}, revision=1_000_000)
    for found in rendered.objects:
        assert len(found["metadata"]["name"]) <= 63, found["metadata"]["name"]


def test_extra_objects_are_rendered() -> None:
    maps = case("everything").by_kind("ConfigMap")
    assert maps["posthorn-more"]["data"] == {"hostname": "mail.example.org"}
    assert "post-text" in maps


def test_custom_objects_say_what_operators_read() -> None:
    rendered = case("everything")
    lag, queue = (
        rendered.by_kind("ScaledObject")[name]["spec"]["triggers"][0]
        for name in ("post-delivery", "post-relay")
    )
    assert lag["metadata"] | {"lagThreshold": ""} == {
        "natsServerMonitoringEndpoint": "post-nats.mail.svc:8222",
        "account": "$G",
        "stream": "INGEST",
        "consumer": "delivery",
        "lagThreshold": "",
    }
    assert queue["metadata"]["connectionFromEnv"] == "POSTHORN_DATABASE_URL"
    certificate = case("external").by_kind("Certificate")["posthorn-tls"]["spec"]
    assert certificate["dnsNames"] == ["mail.example.org", "smtp.example.org", "pop.example.org"]
    monitor = rendered.by_kind("ServiceMonitor")["post"]["spec"]
    service = rendered.by_kind("Service")["post-metrics"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_routes_of_a_gateway_lead_where_an_ingress_does() -> None:
    rendered = case("external")
    whole, pages = rendered.by_kind("HTTPRoute").values()
    service = rendered.by_kind("Service")["posthorn-api"]
    for route in (whole, pages):
        spec = route["spec"]
        assert spec["parentRefs"] == [
            {"name": "web", "namespace": "gateways", "sectionName": "mail"}
        ]
        (rule,) = spec["rules"]
        assert rule["timeouts"] == {"request": "0s"}
        (backend,) = rule["backendRefs"]
        assert backend["name"] == service["metadata"]["name"]
        assert backend["port"] in [port["port"] for port in service["spec"]["ports"]]
    assert whole["spec"]["hostnames"] == ["mail-api.example.org"]
    assert whole["spec"]["rules"][0]["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    found = [match["path"] for match in pages["spec"]["rules"][0]["matches"]]
    assert {"type": "Exact", "value": "/.well-known/mta-sts.txt"} in found
    assert all(each["type"] == "Exact" and not each["value"].startswith("/v1") for each in found)
    (container,) = rendered.by_kind("Deployment")["posthorn-api"]["spec"]["template"]["spec"][
        "containers"
    ]
    told = {each["name"]: each.get("value") for each in container["env"]}
    assert told["POSTHORN_PUBLIC_WEB"] == "mail-api.example.org"


def test_a_route_names_no_more_hosts_than_the_gateway_api_allows() -> None:
    hosts = [f"mta-sts.{number}.example" for number in range(33)]
    route = {
        "enabled": True,
        "parentRefs": [{"name": "web"}],
        "host": "api.example",
        "pageHosts": hosts,
    }
    found = render({"api": {"httpRoute": route}}).by_kind("HTTPRoute")
    assert [len(each["spec"]["hostnames"]) for each in found.values()] == [1, 16, 16, 1]
    assert [each["spec"]["hostnames"] for each in found.values()][1:] == [
        hosts[:16],
        hosts[16:32],
        hosts[32:],
    ]


def test_hosts_of_domains_lead_to_the_pages_for_everybody_and_to_nothing_else_of_the_api() -> None:
    (ingress,) = case("everything").by_kind("Ingress").values()
    paths = {
        rule["host"]: [(path["path"], path["pathType"]) for path in rule["http"]["paths"]]
        for rule in ingress["spec"]["rules"]
    }
    assert paths.pop("mail-api.example.org") == [("/", "Prefix")]
    assert paths.keys() == {
        "mta-sts.example.org",
        "autoconfig.example.org",
        "autodiscover.example.org",
    }
    for found in paths.values():
        assert ("/.well-known/mta-sts.txt", "Exact") in found
        assert all(kind == "Exact" and not path.startswith("/v1") for path, kind in found)
    certified = {item["secretName"]: item["hosts"] for item in ingress["spec"]["tls"]}
    assert certified == {"mail-api-tls": ["mail-api.example.org"], "mail-pages-tls": list(paths)}


@pytest.mark.parametrize(
    ("path", "value", "replaced"),
    [
        ("hostname", "mx.example.org", "api relay scan smtp-in submission"),
        ("postgresql.pool", 5, "api delivery imap pop3 relay submission"),
        ("public.imap", "imap.example.org", "api"),
        ("settings.POSTHORN_LOGIN_FAILURES_PER_ADDRESS", 5, "api imap pop3 submission"),
        ("smtpIn.settings.POSTHORN_SMTP_SESSIONS", 500, "smtp-in"),
        ("smtpIn.replicas", 4, ""),
        ("service.type", "ClusterIP", ""),
    ],
)
def test_a_change_replaces_the_pods_that_it_concerns(path: str, value: Any, replaced: str) -> None:
    before = dict(_templates(render()))
    after = dict(_templates(render(at(path, value))))
    changed = [name for name, template in after.items() if template != before[name]]
    assert sorted(changed) == [f"Deployment/posthorn-{part}" for part in replaced.split()]


def _templates(rendered: Rendered) -> Iterator[tuple[str, Object]]:
    for name, metadata, spec in rendered.pods():
        if name.startswith(("Deployment/", "StatefulSet/")):
            yield name, {"metadata": metadata, "spec": spec}
