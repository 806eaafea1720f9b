"""The canary in the chart."""

from __future__ import annotations

from typing import Any

import pytest

from posthorn.runtime.canary.settings import CanarySettings
from posthorn.runtime.env_settings import PREFIX
from tests.chart import test_invariants as invariants
from tests.chart.rendering import Object, Rendered, merged, render

ON = {
    "canary": {
        "enabled": True,
        "address": "canary@example.org",
        "existingSecret": "canary",
        "sender": "check@example.com",
        "nodeSelector": {"zone": "a"},
    }
}


def container(rendered: Rendered) -> Object:
    pod = rendered.by_kind("Deployment")["posthorn-canary"]["spec"]["template"]["spec"]
    found: Object = pod["containers"][0]
    return found


def given(rendered: Rendered) -> dict[str, str]:
    return {
        item["name"]: item.get("value", "a password")
        for item in container(rendered)["env"]
        if item["name"].startswith(PREFIX)
    }


def test_the_canary_is_off_by_default() -> None:
    assert "posthorn-canary" not in render().by_kind("Deployment")


def test_its_pod_is_as_the_others() -> None:
    rendered = render(ON)
    invariants.test_every_pod_is_fit_for_restricted_pod_security(rendered)
    invariants.test_posthorn_runs_as_its_images_user_and_writes_to_tmp_only(rendered)
    invariants.test_no_pod_gets_a_token_or_the_variables_of_services(rendered)
    invariants.test_nodes_may_be_emptied_of_every_pod(rendered)
    deployment = rendered.by_kind("Deployment")["posthorn-canary"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert deployment["template"]["spec"]["nodeSelector"] == {"zone": "a"}
    assert deployment["template"]["metadata"]["labels"]["posthorn.dev/part"] == "true"


@pytest.mark.parametrize("proxied", [False, True])
def test_it_accepts_its_environment_and_comes_in_by_the_doors_of_clients(
    proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = {"proxyProtocol": {"enabled": proxied, "networks": ["192.0.2.0/24"]}}
    rendered = render(merged(ON, over))
    for name, value in given(rendered).items():
        monkeypatch.setenv(name, value)
    settings = CanarySettings.load()
    assert settings.canary_address == "canary@example.org"
    assert settings.canary_sender == "check@example.com"
    (password,) = (item for item in container(rendered)["env"] if "valueFrom" in item)
    assert password["valueFrom"]["secretKeyRef"] == {"name": "canary", "key": "password"}
    services = rendered.by_kind("Service")
    for door in (
        settings.canary_smtp,
        settings.canary_submission,
        settings.canary_pop3,
        settings.canary_imap,
    ):
        assert door is not None
        name, _, port = door.partition(":")
        assert int(port) in [each["port"] for each in services[name]["spec"]["ports"]]
        assert name.endswith("-internal") is proxied
    mounted = [each["mountPath"] for each in container(rendered)["volumeMounts"]]
    assert str(settings.canary_certificate) == "/etc/posthorn/tls/tls.crt"
    assert "/etc/posthorn/tls" in mounted


def test_what_is_not_there_is_not_asked() -> None:
    names = given(
        render(merged(ON, {"imap": {"enabled": False}, "submission": {"enabled": False}}))
    )
    assert "POSTHORN_CANARY_IMAP" not in names
    assert "POSTHORN_CANARY_SUBMISSION" not in names
    assert "POSTHORN_CANARY_SMTP" in names


def test_policies_let_it_reach_the_doors_of_clients_and_nothing_else() -> None:
    rendered = render(ON)
    policies = list(rendered.by_kind("NetworkPolicy").values())
    labels = invariants.by_component(rendered)
    me = labels["canary"]
    for whom, port in (("smtp-in", 2525), ("submission", 2465), ("pop3", 2995), ("imap", 2993)):
        assert invariants.allowed(policies, "Egress", me, labels[whom], port), whom
        assert invariants.allowed(policies, "Ingress", labels[whom], me, port), whom
    for whom, port in (("api", 8080), ("nats", 4222), ("postgresql", 5432), ("s3", 3900)):
        assert not invariants.allowed(policies, "Egress", me, labels[whom], port), whom
    assert not invariants.allowed(policies, "Egress", me, None, 25)
    scraped = {
        name: rendered.by_kind("NetworkPolicy")[f"posthorn-{name}"]["spec"]["ingress"][0]
        for name in ("canary", "pop3")
    }
    assert scraped["canary"] == scraped["pop3"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"canary": {"enabled": True}}, "address and existingSecret"),
        (merged(ON, {"pop3": {"enabled": False}}), "it needs pop3"),
        (merged(ON, {"tls": {"selfSigned": False}}), "a certificate"),
        (merged(ON, {"canary": {"address": "no address"}}), "address"),
        (merged(ON, {"canary": {"intervalSeconds": 1}}), "intervalSeconds"),
    ],
)
def test_a_canary_that_could_not_work_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(Exception, match=said):
        render(values)
