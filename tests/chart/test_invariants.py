"""What holds for every object in every case: security, health, doors that meet."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from deploy.release import version

from posthorn.runtime.tls import CHECK_SECONDS
from tests.chart.rendering import CASES, CHART, OLDEST, Object, Rendered, at, case, merged, render

PARTS = {"smtp-in", "submission", "delivery", "scan", "relay", "pop3", "imap", "api"}


@pytest.fixture(params=CASES)
def rendered(request: pytest.FixtureRequest) -> Rendered:
    return case(request.param)


def containers(spec: Object) -> list[Object]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def component(found: Object) -> str:
    return str(found["metadata"]["labels"].get("app.kubernetes.io/component", ""))


def own(rendered: Rendered) -> dict[str, Object]:
    """Posthorn's Deployments by component."""
    return {component(found): found for found in rendered.by_kind("Deployment").values()}


def by_component(rendered: Rendered) -> dict[str, dict[str, str]]:
    """The labels of the pods."""
    return {
        metadata["labels"]["app.kubernetes.io/component"]: metadata["labels"]
        for _, metadata, _ in rendered.pods()
    }


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Return whether a label selector takes labels."""
    if not selector.get("matchLabels", {}).items() <= labels.items():
        return False
    return all(
        labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", [])
    )


def test_every_pod_is_fit_for_restricted_pod_security(rendered: Rendered) -> None:
    for name, _, spec in rendered.pods():
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        assert not [volume for volume in spec["volumes"] if "hostPath" in volume], name
        for container in containers(spec):
            inner = container["securityContext"]
            assert inner["allowPrivilegeEscalation"] is False, name
            assert inner["capabilities"] == {"drop": ["ALL"]}, name
            assert inner["readOnlyRootFilesystem"] is True, name
            assert inner["seccompProfile"] == {"type": "RuntimeDefault"}, name
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
            assert "memory" in container["resources"]["limits"], name


def test_posthorn_runs_as_its_images_user_and_writes_to_tmp_only(rendered: Rendered) -> None:
    for name, _, spec in rendered.pods():
        (first, *_) = spec["containers"]
        if "posthorn/posthorn-" not in first["image"]:
            continue
        assert {spec["securityContext"][key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {
            10001
        }, name
        writable = [
            mount["mountPath"] for mount in first["volumeMounts"] if not mount.get("readOnly")
        ]
        assert writable == ["/tmp"], name


def test_no_pod_gets_a_token_or_the_variables_of_services(rendered: Rendered) -> None:
    # a Service posthorn-api would set POSTHORN_API_PORT=tcp://..., which is a setting of ours
    for name, _, spec in rendered.pods():
        assert spec["enableServiceLinks"] is False, name
        assert spec["automountServiceAccountToken"] is False, name


def test_every_deployment_has_probes_a_budget_and_is_spread(rendered: Rendered) -> None:
    deployments = own(rendered)
    assert deployments.keys() <= PARTS
    budgets = {
        component(found): found["spec"]
        for found in rendered.by_kind("PodDisruptionBudget").values()
    }
    for name, found in deployments.items():
        spec = found["spec"]["template"]["spec"]
        container = spec["containers"][0]
        paths = [
            container[probe]["httpGet"]["path"]
            for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        ]
        # liveness asks nothing of other parts
        assert paths == ["/healthz", "/healthz", "/readyz"], name
        assert selects(
            budgets[name]["selector"], found["spec"]["template"]["metadata"]["labels"]
        ), name
        assert ("minAvailable" in budgets[name]) != ("maxUnavailable" in budgets[name]), name
        assert found["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0, name
        if found["metadata"]["name"] == "post-smtp-in":
            assert spec["topologySpreadConstraints"] == []  # as the case "everything" says
        else:
            keys = [constraint["topologyKey"] for constraint in spec["topologySpreadConstraints"]]
            assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"], name
            for constraint in spec["topologySpreadConstraints"]:
                assert selects(
                    constraint["labelSelector"], found["spec"]["template"]["metadata"]["labels"]
                ), name


def test_a_process_that_hangs_is_not_waited_for_as_for_one_that_drains(rendered: Rendered) -> None:
    for name, found in own(rendered).items():
        spec = found["spec"]["template"]["spec"]
        container = spec["containers"][0]
        stop = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        for kind in ("startupProbe", "livenessProbe"):
            grace = container[kind]["terminationGracePeriodSeconds"]
            assert stop < grace <= min(30, spec["terminationGracePeriodSeconds"]), (name, kind)
        # the API server allows none here
        assert "terminationGracePeriodSeconds" not in container["readinessProbe"], name


def test_a_pod_outlives_its_grace(rendered: Rendered) -> None:
    for name, found in own(rendered).items():
        spec = found["spec"]["template"]["spec"]
        container = spec["containers"][0]
        grace = next(
            float(item["value"])
            for item in container["env"]
            if item["name"] == "POSTHORN_GRACE_SECONDS"
        )
        stop = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert spec["terminationGracePeriodSeconds"] >= stop + grace, name
        if name in ("smtp-in", "submission"):
            assert stop >= 10, name
            assert grace >= 180 + 20, name  # silence in a message, and the stream's answer
        if name == "relay":
            assert grace >= 600, name  # RFC 5321 §4.5.3.2.6: the other server's last answer


def test_the_sleep_before_the_stop_is_the_same_for_older_clusters() -> None:
    for name, found in own(case("default", OLDEST)).items():
        hook = (
            found["spec"]["template"]["spec"]["containers"][0].get("lifecycle", {}).get("preStop")
        )
        new = (
            own(case("default"))[name]["spec"]["template"]["spec"]["containers"][0]
            .get("lifecycle", {})
            .get("preStop")
        )
        assert (hook is None) == (new is None)
        if hook:
            assert (
                hook["exec"]["command"][-1] == f"import time; time.sleep({new['sleep']['seconds']})"
            )


def test_every_service_leads_to_ports_that_a_pod_has(rendered: Rendered) -> None:
    pods = [(metadata["labels"], spec) for _, metadata, spec in rendered.pods()]
    for name, service in rendered.by_kind("Service").items():
        chosen = [
            spec for labels, spec in pods if service["spec"]["selector"].items() <= labels.items()
        ]
        assert chosen, name
        for port in service["spec"]["ports"]:
            for spec in chosen:
                named = {
                    item["name"]: item["containerPort"] for item in spec["containers"][0]["ports"]
                }
                assert port["targetPort"] in named, (name, port)


def test_port_names_are_what_kubernetes_allows(rendered: Rendered) -> None:
    for name, _, spec in rendered.pods():
        for port in spec["containers"][0].get("ports", []):
            assert re.fullmatch(r"(?=.*[a-z])[a-z0-9](-?[a-z0-9])*", port["name"]), name
            assert len(port["name"]) <= 15, name
            assert port["containerPort"] > 1024, name


def test_services_are_those_that_clients_know(rendered: Rendered) -> None:
    public = {
        port["port"]: service["spec"].get("externalTrafficPolicy", "")
        for service in rendered.by_kind("Service").values()
        if service["spec"]["type"] != "ClusterIP"
        for port in service["spec"]["ports"]
    }
    assert public.keys() <= {25, 465, 587, 110, 995, 143, 993}
    assert set(public.values()) <= {"Local"}


def test_public_ports_by_default() -> None:
    services = case("default").by_kind("Service")
    doors = {
        name: [port["port"] for port in services[f"posthorn-{name}"]["spec"]["ports"]]
        for name in ("smtp-in", "submission", "pop3", "imap")
    }
    assert doors == {
        "smtp-in": [25],
        "submission": [587, 465],
        "pop3": [110, 995],
        "imap": [143, 993],
    }
    assert all(services[f"posthorn-{name}"]["spec"]["type"] == "LoadBalancer" for name in doors)
    assert services["posthorn-api"]["spec"]["type"] == "ClusterIP"


def test_without_a_certificate_the_tls_ports_are_not_offered() -> None:
    rendered = render({"tls": {"selfSigned": False}})
    ports = [
        port["port"]
        for service in rendered.by_kind("Service").values()
        for port in service["spec"]["ports"]
    ]
    assert {25, 587, 110, 143} <= set(ports)
    assert not {465, 995, 993} & set(ports)
    assert not rendered.by_kind("Pod")  # the test reads at 995
    assert "nobody can log in" in rendered.notes


def test_fixed_addresses_reach_the_services() -> None:
    services = case("external").by_kind("Service")
    addresses = {
        name: services[f"posthorn-{name}"]["spec"]["loadBalancerIP"]
        for name in ("smtp-in", "submission", "pop3", "imap")
    }
    assert addresses == {
        "smtp-in": "192.0.2.25",
        "submission": "192.0.2.26",
        "pop3": "192.0.2.27",
        "imap": "192.0.2.28",
    }


def test_with_the_proxy_protocol_public_and_inner_doors_are_apart() -> None:
    rendered = case("external")
    for name in ("smtp-in", "submission", "pop3", "imap"):
        named = {
            port["name"]: port["containerPort"]
            for port in own(rendered)[name]["spec"]["template"]["spec"]["containers"][0]["ports"]
        }
        outer, inner = (
            rendered.by_kind("Service")[f"posthorn-{name}{which}"]["spec"]
            for which in ("", "-internal")
        )
        assert inner["type"] == "ClusterIP"
        assert [port["port"] for port in outer["ports"]] == [
            port["port"] for port in inner["ports"]
        ]
        outside = {named[port["targetPort"]] for port in outer["ports"]}
        inside = {named[port["targetPort"]] for port in inner["ports"]}
        assert not outside & inside
        for numbers in (outside, inside):
            assert all(
                allowed(
                    list(rendered.by_kind("NetworkPolicy").values()),
                    "Ingress",
                    by_component(rendered)[name],
                    None,
                    number,
                )
                for number in numbers
            )
    assert not [name for name in case("default").by_kind("Service") if name.endswith("-internal")]


def test_certificates_are_mounted_as_directories(rendered: Rendered) -> None:
    for name, _, spec in rendered.pods():
        secrets = {volume["name"] for volume in spec["volumes"] if "secret" in volume}
        for container in containers(spec):
            for mount in container["volumeMounts"]:
                if mount["name"] in secrets:
                    assert "subPath" not in mount, name
                    assert mount["readOnly"] is True, name
    assert CHECK_SECONDS <= 60  # and are looked at again and again


def test_no_secret_stands_in_a_config_map_or_an_environment(rendered: Rendered) -> None:
    secrets = {
        value
        for secret in rendered.by_kind("Secret").values()
        for key, value in secret.get("stringData", {}).items()
        if not key.endswith(".crt")
    }
    assert secrets or "mail-seal" in json.dumps(rendered.objects)
    for found in rendered.objects:
        if found["kind"] != "Secret":
            text = json.dumps(found)
            assert not [secret for secret in secrets if secret in text], found["metadata"]["name"]
            assert "PRIVATE KEY" not in text
            assert not re.search(r"://[^/\s\"$]+:[^/\s\"@$]+@", text), found["metadata"]["name"]


def test_what_pods_refer_to_is_there_or_the_users(rendered: Rendered) -> None:
    there = {"Secret": rendered.by_kind("Secret"), "ConfigMap": rendered.by_kind("ConfigMap")}
    there["Secret"] |= {
        item["spec"]["secretName"]: item for item in rendered.by_kind("Certificate").values()
    }
    users = {"mail-", "registry", "egress", "more", "ca"}
    for name, _, spec in rendered.pods():
        text = json.dumps(spec)
        wanted = re.findall(r'"secretKeyRef": \{"name": "([^"]+)"', text) + re.findall(
            r'"secretName": "([^"]+)"', text
        )
        for secret in wanted:
            assert secret in there["Secret"] or secret.startswith(tuple(users)), (name, secret)
        for volume in spec["volumes"]:
            config = volume.get("configMap", {}).get("name")
            assert config is None or config in there["ConfigMap"] or config in users, (name, config)
        for container in containers(spec):
            for item in container.get("env", []):
                reference = item.get("valueFrom", {}).get("secretKeyRef")
                if reference and reference["name"] in rendered.by_kind("Secret"):
                    held = rendered.by_kind("Secret")[reference["name"]]
                    assert reference["key"] in held.get("stringData", {}), (name, reference)


def allowed(
    policies: list[Object],
    sort: str,
    labels: dict[str, str],
    peer: dict[str, str] | None,
    port: int,
) -> bool:
    """Return whether policies let a pod be reached from, or reach, a peer at a port; no peer
    stands for the world."""
    direction = "from" if sort == "Ingress" else "to"
    for policy in policies:
        if sort not in policy["spec"]["policyTypes"] or not selects(
            policy["spec"]["podSelector"], labels
        ):
            continue
        for rule in policy["spec"].get(sort.lower(), []):
            if "ports" in rule and port not in [item["port"] for item in rule["ports"]]:
                continue
            if direction not in rule:
                return True
            if peer is not None and any(
                "podSelector" in item and selects(item["podSelector"], peer)
                for item in rule[direction]
            ):
                return True
    return False


DOORS = [
    ("smtp-in", "nats", 4222), ("smtp-in", "s3", 3900), ("submission", "postgresql", 5432), ("submission", "nats", 4222),
    ("delivery", "nats", 4222), ("delivery", "postgresql", 5432), ("delivery", "s3", 3900), ("relay", "postgresql", 5432),
    ("relay", "s3", 3900), ("pop3", "postgresql", 5432), ("pop3", "s3", 3900), ("pop3", "nats", 4222),
    ("imap", "postgresql", 5432), ("imap", "s3", 3900), ("imap", "nats", 4222), ("api", "postgresql", 5432),
    ("scan", "nats", 4222), ("scan", "s3", 3900),
    ("api", "nats", 4222), ("api", "s3", 3900), ("migrate", "postgresql", 5432), ("nats", "nats", 6222),
]  # fmt: skip
SHUT = [
    ("smtp-in", "postgresql", 5432), ("migrate", "nats", 4222), ("postgresql", "s3", 3900), ("s3", "nats", 4222),
    ("scan", "postgresql", 5432), ("relay", "api", 8080), ("api", "nats", 6222), ("delivery", "smtp-in", 25),
]  # fmt: skip


def test_policies_deny_everything_but_the_needed_doors() -> None:
    rendered = case("default")
    policies = list(rendered.by_kind("NetworkPolicy").values())
    labels = by_component(rendered)
    shut = [
        policy["spec"]
        for policy in policies
        if policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        and not {"ingress", "egress"} & policy["spec"].keys()
    ]
    for name, own_labels in labels.items():
        assert any(selects(spec["podSelector"], own_labels) for spec in shut), name
        assert allowed(policies, "Egress", own_labels, None, 53), name
    for who, whom, port in DOORS:
        assert allowed(policies, "Egress", labels[who], labels[whom], port), (who, whom)
        assert allowed(policies, "Ingress", labels[whom], labels[who], port), (who, whom)
    for who, whom, port in SHUT:
        out = allowed(policies, "Egress", labels[who], labels[whom], port)
        into = allowed(policies, "Ingress", labels[whom], labels[who], port)
        assert not (out and into), (who, whom)
    assert {who for who in labels if allowed(policies, "Egress", labels[who], None, 25)} == {
        "relay"
    }
    assert {who for who in labels if allowed(policies, "Egress", labels[who], None, 443)} == {
        "relay",
        "api",
    }
    world = {
        (who, port)
        for who in labels
        for port in (
            25,
            2525,
            2587,
            2465,
            2110,
            2995,
            2143,
            2993,
            8080,
            4222,
            5432,
            3900,
            6222,
            8222,
        )
        if allowed(policies, "Ingress", labels[who], None, port)
    }
    assert world == {
        ("smtp-in", 2525), ("submission", 2587), ("submission", 2465), ("pop3", 2110), ("pop3", 2995), ("imap", 2143),
        ("imap", 2993), ("api", 8080),
    }  # fmt: skip


def test_the_test_pod_reaches_the_api_where_few_may() -> None:
    policies = list(case("everything").by_kind("NetworkPolicy").values())
    labels = by_component(case("everything"))
    assert allowed(policies, "Ingress", labels["api"], labels["test"], 8080)
    assert not allowed(policies, "Ingress", labels["api"], labels["pop3"], 8080)
    assert allowed(policies, "Egress", labels["test"], labels["api"], 8080)


def test_policies_can_be_left_out() -> None:
    assert not case("minimal").by_kind("NetworkPolicy")


def test_stores_of_ones_own_leave_no_trace_of_the_bundled_ones() -> None:
    rendered = case("external")
    assert not rendered.by_kind("StatefulSet")
    text = json.dumps(rendered.objects)
    assert not [
        name for name in ("posthorn-postgresql", 'posthorn-nats"', "posthorn-s3") if name in text
    ]
    assert not rendered.by_kind("Secret")  # every one is the user's, or cert-manager's


def test_each_bundled_store_is_off_with_one_value() -> None:
    for store, more in (
        ("postgresql", {"existingSecret": "a"}),
        ("nats", {"existingSecret": "b"}),
        ("s3", {}),
    ):
        off = merged(at(f"{store}.bundled.enabled", False), {store: more})
        names = render(off).by_kind("StatefulSet").keys()
        assert names == {f"posthorn-{name}" for name in ("postgresql", "nats", "s3")} - {
            f"posthorn-{store}"
        }


def test_the_migration_is_a_job_of_its_revision_and_its_template() -> None:
    def name(values: dict[str, Any] | None = None, revision: int = 1) -> str:
        (job,) = render(values, revision=revision, upgrade=revision > 1).by_kind("Job")
        return job

    first, again, second = name(), name(), name(revision=2)
    assert first == again
    assert re.fullmatch(r"posthorn-migrate-1-[0-9a-f]{6}", first)
    assert re.fullmatch(r"posthorn-migrate-2-[0-9a-f]{6}", second)
    # a Job's template cannot be changed: whatever changes it gives another name, for Argo CD's only
    # revision too
    for change in (
        at("image.tag", "9.9"), at("commonLabels", {"team": "mail"}), at("migrations.waitSeconds", 1),
        at("migrations.resources.limits.memory", "1Gi"), at("image.pullSecrets", ["registry"]),
    ):  # fmt: skip
        assert name(change) != first, change
    assert name(at("smtpIn.replicas", 5)) == first
    (job,) = case("default").by_kind("Job").values()
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["posthorn-migrate"]
    assert "helm.sh/hook" not in job["metadata"].get("annotations", {})


def test_images_can_be_pinned_and_moved() -> None:
    digest = "sha256:" + "0" * 64
    values = {
        "image": {"registry": "registry.example.org", "tag": "9.9"},
        "smtpIn": {"image": {"digest": digest}},
        "pop3": {"image": {"tag": "8.8"}},
    }
    images = {
        name: found["spec"]["template"]["spec"]["containers"][0]["image"]
        for name, found in own(render(values)).items()
    }
    assert images["smtp-in"] == f"registry.example.org/posthorn/posthorn-smtp-in@{digest}"
    assert images["submission"] == "registry.example.org/posthorn/posthorn-smtp-in:9.9"
    assert images["pop3"] == "registry.example.org/posthorn/posthorn-pop3:8.8"
    assert (
        own(case("default"))["api"]["spec"]["template"]["spec"]["containers"][0]["image"]
        == f"ghcr.io/posthorn/posthorn-api:{version()}"
    )


def test_no_image_is_bitnamis_or_floats(rendered: Rendered) -> None:
    for name, _, spec in rendered.pods():
        for container in containers(spec):
            assert "bitnami" not in container["image"], name
            assert re.search(r":v?\d+\.\d+|@sha256:", container["image"]), name
            assert not container["image"].endswith(":latest"), name


def test_a_node_of_its_own_for_the_way_out() -> None:
    spec = own(render({"relay": {"hostNetwork": True}}))["relay"]["spec"]["template"]["spec"]
    assert (spec["hostNetwork"], spec["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")


def test_extras_reach_the_pod() -> None:
    found = own(case("everything"))["smtp-in"]
    spec = found["spec"]["template"]["spec"]
    container = spec["containers"][0]
    assert {"name": "SSL_CERT_FILE", "value": "/etc/ca/ca.crt"} in container["env"]
    assert {"name": "ca", "mountPath": "/etc/ca", "readOnly": True} in container["volumeMounts"]
    assert {"name": "ca", "configMap": {"name": "ca"}} in spec["volumes"]
    assert found["spec"]["template"]["metadata"]["labels"]["example.org/mail"] == "yes"
    assert found["metadata"]["annotations"].items() >= {
        ("example.org/owner", "mail"),
        ("example.org/contact", "postmaster"),
    }
    assert found["metadata"]["labels"]["team"] == "mail"
    assert spec["imagePullSecrets"] == [{"name": "registry"}]


def test_the_chart_holds_no_key() -> None:
    for path in CHART.rglob("*"):
        if path.is_file():
            assert "PRIVATE KEY" not in path.read_text(), path


def test_pods_run_under_accounts_that_pull_secrets_reach(rendered: Rendered) -> None:
    accounts = rendered.by_kind("ServiceAccount")
    for name, _, spec in rendered.pods():
        assert spec["serviceAccountName"] in accounts, name
        assert accounts[spec["serviceAccountName"]].get("imagePullSecrets") == spec.get(
            "imagePullSecrets"
        ), name
    for account in accounts.values():
        assert account["automountServiceAccountToken"] is False


def test_the_role_of_the_pods_is_not_the_stores() -> None:
    rendered = case("ha")
    accounts = rendered.by_kind("ServiceAccount")
    assert accounts["posthorn"]["metadata"]["annotations"]
    assert "annotations" not in accounts["posthorn-stores"]["metadata"]
    users = {name: spec["serviceAccountName"] for name, _, spec in rendered.pods()}
    assert users["StatefulSet/posthorn-nats"] == "posthorn-stores"
    assert users["Deployment/posthorn-api"] == users["Pod/posthorn-test"] == "posthorn"
    own = render({"serviceAccount": {"create": False, "name": "mine"}})
    assert not own.by_kind("ServiceAccount")
    assert {spec["serviceAccountName"] for _, _, spec in own.pods()} == {"mine"}


def test_nodes_may_be_emptied_of_every_pod(rendered: Rendered) -> None:
    for name, metadata, spec in rendered.pods():
        if name.startswith(("Deployment", "StatefulSet")):
            scratch = {volume["name"] for volume in spec["volumes"] if "emptyDir" in volume}
            key = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
            assert set(metadata["annotations"][key].split(",")) == scratch, name
    text = (CHART.parents[2] / "docs" / "operations.md").read_text()
    assert "kubectl drain NODE --ignore-daemonsets --delete-emptydir-data" in text


def test_no_probe_asks_before_anything_could_answer(rendered: Rendered) -> None:
    for name, _, spec in rendered.pods():
        probe = spec["containers"][0].get("startupProbe")
        if probe:
            assert probe["initialDelaySeconds"] >= 1, name
            assert probe["periodSeconds"] <= 2, name  # not later for it
            assert probe["periodSeconds"] * probe["failureThreshold"] >= 120, name


def test_a_node_without_spare_cpu_stops_no_store(rendered: Rendered) -> None:
    # a probe that starts a process took longer than 5 s while all services of a small node were replaced
    for name, _, spec in rendered.pods():
        for container in containers(spec):
            for kind in ("livenessProbe", "readinessProbe"):
                probe = container.get(kind, {})
                assert "exec" not in probe or probe["timeoutSeconds"] >= 30, (name, kind)


def test_the_test_pod_stays_for_its_log() -> None:
    # Helm 3 reads it after what "hook-succeeded" names is gone, and asks for it by the name of
    # every hook
    hooks = [
        found
        for found in case("default").objects
        if "helm.sh/hook" in found["metadata"].get("annotations", {})
    ]
    assert {found["kind"] for found in hooks} == {"ConfigMap", "Pod"}
    assert {found["metadata"]["name"] for found in hooks} == {"posthorn-test"}
    for found in hooks:
        assert (
            found["metadata"]["annotations"]["helm.sh/hook-delete-policy"] == "before-hook-creation"
        )


def test_labels_of_ones_own_do_not_double_the_charts() -> None:
    labels = {"app.kubernetes.io/name": "x", "release": "y"}
    rendered = render({"monitoring": {"serviceMonitor": {"enabled": True, "labels": labels}}})
    found = rendered.by_kind("ServiceMonitor")["posthorn"]["metadata"]["labels"]
    assert (found["app.kubernetes.io/name"], found["release"]) == ("posthorn", "y")
