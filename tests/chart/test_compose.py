"""The environment that docker-compose.yml gives is the one that the settings classes read, as the chart's is."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy.helm.schema import CLASSES

from tests.chart.test_settings import known, load

ROOT = Path(__file__).parents[2]
SERVICES = {
    "smtp-in": "smtpIn",
    "submission": "submission",
    "delivery": "delivery",
    "relay": "relay",
    "pop3": "pop3",
    "api": "api",
}
"""Services of the compose file, and the keys of their settings classes."""
SECRETS = {
    "POSTHORN_HOSTNAME": "mail.example.org",
    "POSTHORN_SECRET_KEY": base64.b64encode(bytes(32)).decode(),
    "POSTHORN_API_ADMIN_KEY": "ph_" + "x" * 43,
    "POSTGRES_PASSWORD": "p0123456789abcdef",
    "NATS_PASSWORD": "p0123456789abcdef",
    "S3_ACCESS_KEY": "GK0123456789abcdef01234567",
    "S3_SECRET_KEY": "0" * 64,
    "GARAGE_RPC_SECRET": "0" * 64,
}
"""As init.sh makes them."""


class Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML with Compose's tags."""


Loader.add_constructor("!override", lambda loader, node: loader.construct_sequence(node))


def composed(*files: str) -> dict[str, dict[str, str]]:
    """Environments by service, of files put over one another."""
    found: dict[str, dict[str, str]] = {}
    for name in files:
        document: dict[str, Any] = yaml.load((ROOT / name).read_text(), Loader)
        for service, facts in document["services"].items():
            given = {key: filled(value) for key, value in facts.get("environment", {}).items()}
            found[service] = found.get(service, {}) | given
    return found


def filled(text: str) -> str:
    """Put secrets and defaults in the place of ``${NAME:-default}`` and ``${NAME:?message}``, the inner ones first."""
    while match := re.search(r"\$\{(\w+):([-?])([^${}]*)\}", text):
        value = SECRETS.get(match[1], match[3] if match[2] == "-" else "")
        assert value or match[2] == "-", match[1]
        text = text[: match.start()] + value + text[match.end() :]
    return text


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_gets_what_it_reads_and_accepts_it(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key = SERVICES[service]
    given = composed("docker-compose.yml")[service]
    assert given.keys() <= known(key)
    settings = load(key, given, monkeypatch)
    assert settings.grace_seconds == 30
    needed = {"POSTHORN_" + name.upper() for name, field in CLASSES[key].model_fields.items() if field.is_required()}
    assert needed <= given.keys()


def test_what_services_must_agree_on_is_the_same_everywhere() -> None:
    found: dict[str, set[str]] = {}
    for service, given in composed("docker-compose.yml").items():
        if service in SERVICES:
            for name, value in given.items():
                found.setdefault(name, set()).add(value)
    differing = {name for name, values in found.items() if len(values) > 1}
    assert differing == {"POSTHORN_SMTP_ROLE"}
    for name in ("SUBMISSION_MESSAGES_PER_HOUR", "SUBMISSION_RECIPIENTS_PER_HOUR", "RELAY_HOSTNAME"):
        readers = {service for service, key in SERVICES.items() if f"POSTHORN_{name}" in known(key)}
        assert readers == {s for s, given in composed("docker-compose.yml").items() if f"POSTHORN_{name}" in given}, (
            name
        )


def test_behind_the_balancer_smtp_in_believes_the_balancers_network_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    given = composed("docker-compose.yml", "deploy/compose/balanced.yml")["smtp-in"]
    settings = load("smtpIn", given, monkeypatch)
    networks = yaml.load((ROOT / "deploy/compose/balanced.yml").read_text(), Loader)["networks"]
    (config,) = networks["balancers"]["ipam"]["config"]
    assert [str(network) for network in settings.proxy_networks] == [filled(config["subnet"])]
    balancer = (ROOT / "deploy/compose/haproxy.cfg").read_text()
    assert f":{settings.smtp_proxy_port}\n" in balancer and "send-proxy-v2" in balancer
    assert settings.smtp_proxy_port != settings.smtp_port
