"""The optional engines of the scanning tier: rspamd, ClamAV and the recursive resolver."""

from __future__ import annotations

import json
from typing import Any

import helm_python
import pytest
import yaml

from tests.chart.rendering import NEWEST, Object, Rendered, at, case, merged, render
from tests.chart.test_invariants import allowed, by_component, own

ENGINES = merged(
    at("rspamd.enabled", True), at("clamav.enabled", True), at("resolver.enabled", True)
)


def scan(rendered: Rendered) -> Object:
    """The pods of scan."""
    spec: Object = own(rendered)["scan"]["spec"]["template"]["spec"]
    return spec


def engine_settings(rendered: Rendered) -> dict[str, str]:
    """What scan is told of engines and resolvers."""
    names = ("SCAN_RSPAMD_URL", "SCAN_CLAMAV_ADDRESS", "SCAN_DNS_SERVERS")
    return {
        item["name"]: item["value"]
        for item in scan(rendered)["containers"][0]["env"]
        if item["name"].removeprefix("POSTHORN_") in names
    }


def test_without_them_nothing_is_there() -> None:
    rendered = case("default")
    assert not engine_settings(rendered)
    assert [each["name"] for each in scan(rendered)["containers"]] == ["scan"]
    names = {found["metadata"]["name"] for found in rendered.objects}
    assert not [name for name in names if name.endswith(("rspamd", "clamav", "resolver"))]


def test_scan_is_told_where_they_are_and_reaches_them_alone() -> None:
    rendered = render(ENGINES)
    assert engine_settings(rendered) == {
        "POSTHORN_SCAN_RSPAMD_URL": "http://posthorn-rspamd:11333",
        "POSTHORN_SCAN_CLAMAV_ADDRESS": "posthorn-clamav:3310",
        "POSTHORN_SCAN_DNS_SERVERS": '["127.0.0.1:5335"]',
    }
    policies = list(rendered.by_kind("NetworkPolicy").values())
    labels = by_component(rendered)
    for engine, port in (("rspamd", 11333), ("clamav", 3310)):
        assert rendered.by_kind("Service")[f"posthorn-{engine}"]["spec"]["ports"][0]["port"] == port
        reachers = {
            who
            for who in labels
            if allowed(policies, "Egress", labels[who], labels[engine], port)
            and allowed(policies, "Ingress", labels[engine], labels[who], port)
        }
        assert reachers == {"scan"}
        assert not allowed(policies, "Ingress", labels[engine], None, port)
    outside = {who for who in labels if allowed(policies, "Egress", labels[who], None, 443)}
    assert outside == {"relay", "api", "clamav"}  # signatures


def test_a_resolver_reaches_every_name_server_even_where_dns_is_narrowed() -> None:
    narrow = merged(ENGINES, at("networkPolicy.dnsTo", [{"podSelector": {}}]))
    rendered = render(narrow)
    policies = list(rendered.by_kind("NetworkPolicy").values())
    labels = by_component(rendered)
    reach = {who for who in labels if allowed(policies, "Egress", labels[who], None, 53)}
    assert reach == {"scan", "rspamd"}


def test_the_resolver_is_beside_those_that_ask_it() -> None:
    rendered = render(ENGINES)
    config = rendered.by_kind("ConfigMap")["posthorn-resolver"]["data"]["unbound.conf"]
    assert "interface: 127.0.0.1\n" in config and "port: 5335\n" in config
    for spec in (
        scan(rendered),
        rendered.by_kind("StatefulSet")["posthorn-rspamd"]["spec"]["template"]["spec"],
    ):
        assert [each["name"] for each in spec["containers"]][1] == "resolver"
        assert {"name": "resolver", "configMap": {"name": "posthorn-resolver"}} in spec["volumes"]
    options = rendered.by_kind("ConfigMap")["posthorn-rspamd"]["data"]["options.inc"]
    assert '"127.0.0.1:5335:1"' in options
    alone = render(at("rspamd.enabled", True))
    assert "nameserver" not in alone.by_kind("ConfigMap")["posthorn-rspamd"]["data"]["options.inc"]


def test_trap_22_a_slow_first_start_is_waited_for() -> None:
    sets = render(ENGINES).by_kind("StatefulSet")
    patience = {}
    for engine in ("rspamd", "clamav"):
        container = sets[f"posthorn-{engine}"]["spec"]["template"]["spec"]["containers"][0]
        probe = container["startupProbe"]
        patience[engine] = probe["periodSeconds"] * probe["failureThreshold"]
        (claim,) = sets[f"posthorn-{engine}"]["spec"]["volumeClaimTemplates"]
        assert claim["metadata"]["name"] == "data"
        (path,) = (m["mountPath"] for m in container["volumeMounts"] if m["name"] == "data")
        assert path == f"/var/lib/{engine}"
    assert patience["rspamd"] >= 300
    assert patience["clamav"] >= 1200


def test_clamav_loads_signatures_once_and_before_clamd() -> None:
    rendered = render(merged(ENGINES, at("clamav.mirror", "https://mirror.example.org")))
    files = rendered.by_kind("ConfigMap")["posthorn-clamav"]["data"]
    assert "ConcurrentDatabaseReload no" in files["clamd.conf"]
    assert "TestDatabases no" in files["freshclam.conf"]
    assert "PrivateMirror https://mirror.example.org" in files["freshclam.conf"]
    assert "DatabaseMirror" not in files["freshclam.conf"]
    spec = rendered.by_kind("StatefulSet")["posthorn-clamav"]["spec"]["template"]["spec"]
    assert [each["name"] for each in spec["initContainers"]] == ["signatures"]
    assert [each["name"] for each in spec["containers"]] == ["clamd", "freshclam"]


def test_rspamd_puts_no_message_off_and_takes_files_of_ones_own() -> None:
    values = merged(ENGINES, {"rspamd": {"overrides": {"greylist.conf": "x", "redis.conf": "y"}}})
    files = render(values).by_kind("ConfigMap")["posthorn-rspamd"]["data"]
    assert files["greylist.conf"] == "x" and files["redis.conf"] == "y"
    assert files["ratelimit.conf"] == "enabled = false;\n"
    assert "local_addrs = [];" in files["options.inc"]


def test_engines_of_ones_own_are_told_and_reached() -> None:
    rendered = case("external")
    assert engine_settings(rendered) == {
        "POSTHORN_SCAN_RSPAMD_URL": "http://rspamd.example.org:11333",
        "POSTHORN_SCAN_CLAMAV_ADDRESS": "clamd.example.org:3310",
        "POSTHORN_SCAN_DNS_SERVERS": '["192.0.2.53"]',
    }
    policies = list(rendered.by_kind("NetworkPolicy").values())
    labels = by_component(rendered)
    for port in (11333, 3310):
        reach = {who for who in labels if allowed(policies, "Egress", labels[who], None, port)}
        assert reach == {"scan"}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"rspamd": {"enabled": True, "url": "http://a:1"}}, "rspamd.url"),
        ({"clamav": {"enabled": True, "address": "a:1"}}, "clamav.address"),
        ({"resolver": {"enabled": True, "addresses": ["192.0.2.1"]}}, "resolver.addresses"),
        ({"rspamd": {"enabled": True}, "scan": {"enabled": False}}, "rspamd.enabled"),
        ({"rspamd": {"url": "rspamd:11333"}}, "url"),
        ({"clamav": {"address": "clamd"}}, "address"),
        ({"resolver": {"addresses": ["ns.example.org"]}}, "addresses"),
        ({"scan": {"settings": {"POSTHORN_SCAN_RSPAMD_URL": "http://a:1"}}}, "RSPAMD_URL"),
    ],
)
def test_contradictions_are_refused(values: dict[str, Any], named: str) -> None:
    with pytest.raises(helm_python.HelmError, match=named):
        render(values)


def test_images_have_tags_and_can_be_pinned() -> None:
    digest = "sha256:" + "a" * 64
    pinned = merged(ENGINES, *(at(f"{n}.image.digest", digest) for n in ("rspamd", "clamav")))
    text = json.dumps(render(pinned, kube=NEWEST).objects)
    assert f"rspamd/rspamd@{digest}" in text and f"clamav/clamav@{digest}" in text
    defaults = yaml.safe_load(json.dumps(render(ENGINES).objects))
    images = {
        each["image"]
        for found in defaults
        if found["kind"] in ("StatefulSet", "Deployment")
        for each in found["spec"]["template"]["spec"]["containers"]
    }
    assert not [image for image in images if image.endswith((":latest", ":"))]
