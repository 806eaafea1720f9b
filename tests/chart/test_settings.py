"""The environment that the chart gives is the one that the settings classes read."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from deploy.helm.settings import CLASSES, MANAGED, variables

from posthorn.adapters.blobs.config import blob_target
from posthorn.adapters.blobs.targets import S3Target
from posthorn.adapters.postgres.migrate import MigrateSettings
from posthorn.runtime.env_settings import PREFIX
from tests.chart.rendering import CASES, Object, Rendered, case, render, values_of
from tests.support.only_settings import set_only

KEYS = {"smtp-in": "smtpIn"}
SECRETS = {
    "POSTHORN_DATABASE_URL": "postgresql://mail:secret@db.example.org/mail?sslmode=verify-full",
    "POSTHORN_NATS_URL": "nats://mail:secret@nats.example.org:4222",
    "POSTHORN_SECRET_KEY": base64.b64encode(bytes(32)).decode(),
    "POSTHORN_SRS_KEY": base64.b64encode(bytes(range(32))).decode(),
    "POSTHORN_API_ADMIN_KEY": "ph_" + "x" * 43,
    "POSTHORN_S3_ACCESS_KEY": "GK0123456789abcdef01234567",
    "POSTHORN_S3_SECRET_KEY": "0" * 64,
    "POSTHORN_RELAY_PROXY": "socks5://user:secret@proxy.example.org:1080",
}
"""What the Secrets of others might hold."""


def environment(container: Object, rendered: Rendered) -> dict[str, str]:
    """A container's variables, those from Secrets too."""
    found: dict[str, str] = {}
    for item in container["env"]:
        reference = item.get("valueFrom", {}).get("secretKeyRef")
        if reference is None:
            found[item["name"]] = item["value"]
        else:
            secret = rendered.by_kind("Secret").get(reference["name"])
            found[item["name"]] = (
                secret["stringData"][reference["key"]] if secret else SECRETS[item["name"]]
            )
    return found


def parts(rendered: Rendered) -> dict[str, Object]:
    """The services' containers by the keys of their values."""
    containers = [
        found["spec"]["template"]["spec"]["containers"][0]
        for found in rendered.by_kind("Deployment").values()
    ]
    return {KEYS.get(container["name"], container["name"]): container for container in containers}


def known(key: str) -> set[str]:
    return {PREFIX + name.upper() for name in CLASSES[key].model_fields}


def load(key: str, given: dict[str, str], patch: pytest.MonkeyPatch) -> Any:
    """The settings object, as the process would make it."""
    set_only(patch, {})
    for name, value in given.items():
        # what the chart mounts there has to be readable
        patch.setenv(name, __file__ if name == "POSTHORN_NATS_CREDS_FILE" else value)
    return CLASSES[key].load()


@pytest.mark.parametrize("name", CASES)
def test_every_variable_is_one_that_the_part_reads(name: str) -> None:
    for key, container in parts(case(name)).items():
        given = {item["name"] for item in container["env"] if item["name"].startswith(PREFIX)}
        assert given <= known(key), key
        names = [item["name"] for item in container["env"]]
        assert len(names) == len(set(names)), key


@pytest.mark.parametrize("name", CASES)
def test_each_part_accepts_its_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = case(name)
    for key, container in parts(rendered).items():
        settings = load(key, environment(container, rendered), monkeypatch)
        numbers = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert settings.health_port == numbers["health"]
        for field, port in (
            ("smtp_port", "smtp"), ("submission_port", "submission"), ("submissions_port", "submissions"), ("pop3_port", "pop3"),
            ("pop3s_port", "pop3s"), ("imap_port", "imap"), ("imaps_port", "imaps"), ("api_port", "http"),
        ):  # fmt: skip
            if port in numbers:
                assert getattr(settings, field) == numbers[port], (key, field)
        if key in ("smtpIn", "submission"):
            assert settings.smtp_role == {"smtpIn": "mx"}.get(key, key)
        assert isinstance(blob_target(settings), S3Target), key


PROXIED = {
    "smtpIn": ["smtp"],
    "submission": ["submission", "submissions"],
    "pop3": ["pop3", "pop3s"],
    "imap": ["imap", "imaps"],
}


@pytest.mark.parametrize("name", ["external", "everything"])
def test_public_services_lead_to_the_ports_where_services_demand_a_header(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = case(name)
    full = "post" if name == "everything" else "posthorn"
    for part, doors in PROXIED.items():
        container = parts(rendered)[part]
        settings = load(part, environment(container, rendered), monkeypatch)
        assert [str(network) for network in settings.proxy_networks] == values_of(name)[
            "proxyProtocol"
        ]["networks"]
        numbers = {port["name"]: port["containerPort"] for port in container["ports"]}
        outer, inner = (
            rendered.by_kind("Service")[f"{full}-{container['name']}{which}"]
            for which in ("", "-internal")
        )
        for door in doors:
            targets = [
                numbers[port["targetPort"]]
                for service in (outer, inner)
                for port in service["spec"]["ports"]
                if port["name"] == door
            ]
            assert targets == [
                getattr(settings, f"{door}_proxy_port"),
                getattr(settings, f"{door}_port"),
            ]
    for part in ("delivery", "relay", "api"):
        names = {item["name"] for item in parts(rendered)[part]["env"]}
        assert not [name for name in names if "PROXY_PORT" in name]
        assert "POSTHORN_PROXY_NETWORKS" not in names


def test_the_api_tells_the_world_what_the_values_say(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = case("everything")
    presence = load("api", environment(parts(rendered)["api"], rendered), monkeypatch).presence
    assert presence.mx == ("mx1.example.org", "mx2.example.org")
    assert presence.web == "mail-api.example.org"  # the ingress's
    assert (presence.submission.host, presence.submission.port) == ("smtp.example.org", 0)
    assert (presence.submissions.host, presence.submissions.port) == ("smtp.example.org", 465)
    assert (presence.pop3.host, presence.pop3.port, presence.pop3s.port) == (
        "pop.example.org",
        110,
        9995,
    )
    assert (presence.imap.host, presence.imap.port, presence.imaps.port) == (
        "imap.example.org",
        0,
        993,
    )
    assert presence.outgoing == ("192.0.2.80", "2001:db8:80::/64")
    assert presence.outgoing_name == "out.example.org"
    assert (presence.spf_include, presence.reports) == ("spf.example.org", "reports@example.org")
    assert presence.mta_sts.value == "enforce"


@pytest.mark.parametrize(
    ("values", "ports"),
    [
        ({}, (587, 465, 143, 993, 110, 995)),
        ({"submission": {"enabled": False}}, (0, 0, 143, 993, 110, 995)),
        ({"pop3": {"enabled": False}}, (587, 465, 143, 993, 0, 0)),
        ({"imap": {"enabled": False}}, (587, 465, 0, 0, 110, 995)),
        ({"tls": {"selfSigned": False}}, (0, 0, 0, 0, 0, 0)),
    ],
    ids=["default", "no submission", "no pop3", "no imap", "no certificate"],
)
def test_mail_clients_are_told_of_ports_only_that_somebody_could_log_in_by(
    values: dict[str, Any], ports: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = render(values)
    presence = load("api", environment(parts(rendered)["api"], rendered), monkeypatch).presence
    told = (
        *(presence.submission, presence.submissions),
        *(presence.imap, presence.imaps, presence.pop3, presence.pop3s),
    )
    assert tuple(endpoint.port for endpoint in told) == ports
    assert {endpoint.host for endpoint in told} == set(presence.mx) == {"mail.example.test"}


def test_bundled_stores_are_where_the_services_look(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = case("default")
    services = rendered.by_kind("Service")
    settings = load("delivery", environment(parts(rendered)["delivery"], rendered), monkeypatch)
    for url, host, port in (
        (settings.database_url.get_secret_value(), "posthorn-postgresql", 5432),
        (settings.nats_url.get_secret_value(), "posthorn-nats", 4222),
        (settings.s3_endpoint, "posthorn-s3", 3900),
    ):
        assert re.search(rf"[@/]{host}:{port}\b", url)
        assert port in [item["port"] for item in services[host]["spec"]["ports"]]
    target = blob_target(settings)
    assert isinstance(target, S3Target)
    assert (target.bucket, target.tls, target.region) == ("posthorn", False, "garage")
    garage = rendered.by_kind("StatefulSet")["posthorn-s3"]["spec"]["template"]["spec"][
        "containers"
    ][0]
    given = environment(garage, rendered)
    assert given["GARAGE_DEFAULT_BUCKET"] == target.bucket
    assert given["GARAGE_DEFAULT_ACCESS_KEY"] == target.access_key
    assert target.secret_key is not None
    assert given["GARAGE_DEFAULT_SECRET_KEY"] == target.secret_key.get_secret_value()


def test_what_parts_must_agree_on_is_the_same_everywhere() -> None:
    rendered = case("everything")
    found: dict[str, set[str]] = {}
    for container in parts(rendered).values():
        for name, value in environment(container, rendered).items():
            found.setdefault(name, set()).add(value)
    for name in (
        "NATS_REPLICAS", "INGEST_MAX_BYTES", "INGEST_PARTITIONS", "DEAD_MAX_BYTES", "EVENTS_MAX_BYTES", "BLOBS",
        "S3_ENDPOINT", "SECRET_KEY", "SRS_KEY", "SMTP_HOSTNAME", "RELAY_GIVE_UP_SECONDS", "SUBMISSION_MESSAGES_PER_HOUR",
        "SUBMISSION_RECIPIENTS_PER_HOUR", "RELAY_HOSTNAME", "PROXY_NETWORKS",
    ):  # fmt: skip
        assert len(found[PREFIX + name]) == 1, name
    assert found["POSTHORN_NATS_REPLICAS"] == {"3"}


def test_a_setting_goes_to_every_part_that_reads_it_and_a_parts_own_wins() -> None:
    given = {
        key: environment(container, case("everything"))
        for key, container in parts(case("everything")).items()
    }
    assert {key for key, found in given.items() if "POSTHORN_RELAY_GIVE_UP_SECONDS" in found} == {
        "api",
        "delivery",
    }
    assert given["smtpIn"]["POSTHORN_SMTP_MESSAGE_MAX_BYTES"] == "52428800"  # no 5.24288e+07
    assert given["submission"]["POSTHORN_SMTP_MESSAGE_MAX_BYTES"] == "26214400"
    assert given["relay"]["POSTHORN_RELAY_IPV6"] == "false"
    assert given["relay"]["POSTHORN_RELAY_OWN_NAMES"] == '["mx.example.org"]'
    assert given["relay"]["POSTHORN_RELAY_RETRY_JITTER"] == "0.5"


def test_a_parts_own_false_wins_over_a_true_for_all() -> None:
    rendered = render(
        {
            "settings": {"POSTHORN_RELAY_DIRECT": True},
            "relay": {"settings": {"POSTHORN_RELAY_DIRECT": False}},
        }
    )
    assert environment(parts(rendered)["relay"], rendered)["POSTHORN_RELAY_DIRECT"] == "false"


def test_the_migration_reads_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = case("default")
    (job,) = rendered.by_kind("Job").values()
    container = job["spec"]["template"]["spec"]["containers"][0]
    given = environment(container, rendered)
    assert given.keys() <= {PREFIX + name.upper() for name in MigrateSettings.model_fields} | {
        name for name in given if name.startswith("PASSWORD_")
    }
    for name, value in given.items():
        # as Kubernetes does
        monkeypatch.setenv(name, re.sub(r"\$\((\w+)\)", lambda found: given[found[1]], value))
    settings = MigrateSettings.load()
    assert settings.database_wait_seconds == 600
    secrets = {
        name: secret["stringData"]["password"]
        for name, secret in rendered.by_kind("Secret").items()
        if "-postgresql-" in name
    }
    assert settings.role_passwords() == {
        part: secrets[f"posthorn-postgresql-{part}"]
        for part in ("submission", "delivery", "relay", "pop3", "imap", "api")
    }


def test_every_variable_is_either_a_setting_or_decided_by_a_value() -> None:
    everything = set().union(*(known(key) for key in CLASSES))
    offered = set().union(*(variables(key) for key in CLASSES))
    assert offered | (MANAGED & everything) == everything
    assert not offered & MANAGED
    assert everything >= MANAGED


def test_what_is_needed_to_start_is_always_given() -> None:
    for key, container in parts(case("minimal")).items():
        needed = {
            PREFIX + name.upper()
            for name, field in CLASSES[key].model_fields.items()
            if field.is_required()
        }
        assert needed <= {item["name"] for item in container["env"]}, key
