"""Settings refuse to start with the variable's name and what would be right, and never show a
value."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from posthorn.runtime.env_settings import RENAMED, EnvSettings, SettingsError, environment
from posthorn.runtime.settings import (
    BlobSettings,
    NatsSettings,
    PostgresSettings,
    ProcessSettings,
    TlsSettings,
)
from posthorn_api.settings import ApiSettings
from posthorn_delivery.settings import DeliverySettings
from posthorn_pop3.settings import Pop3Settings
from posthorn_smtp_in.settings import SubmissionInSettings
from tests.support.only_settings import set_only


class Everything(ProcessSettings, NatsSettings, PostgresSettings, BlobSettings, TlsSettings):
    """All blocks at once, as services put them together."""

    networks: tuple[str, ...] = ()


GOOD = {
    "NATS_URL": "nats://user:nats-secret@127.0.0.1:4222",
    "DATABASE_URL": "postgresql://user:database-secret@127.0.0.1/posthorn",
    "BLOBS": "file:///var/lib/posthorn",
}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    set_only(monkeypatch, GOOD)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHORN_HEALTH_PORT", "0")
    monkeypatch.setenv("POSTHORN_TLS_DIR", "/tls")
    monkeypatch.setenv("POSTHORN_NETWORKS", '["10.0.0.0/8"]')
    monkeypatch.setenv("POSTHORN_NOBODY_KNOWS", "ignored, a newer release may")
    settings = Everything.load()
    assert settings.health_port == 0
    assert settings.tls_dir == Path("/tls")
    assert settings.networks == ("10.0.0.0/8",)
    assert settings.nats_url.get_secret_value() == GOOD["NATS_URL"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HEALTH_PORT", "hidden-value", "integer"),
        ("HEALTH_PORT", "65536", "65535"),
        ("HEALTH_PORT", "-1", "0"),
        ("GRACE_SECONDS", "0", "greater than 0"),
        ("GRACE_SECONDS", "inf", "finite"),
        ("GRACE_SECONDS", "nan", "finite"),
        ("DRAIN_DELAY_SECONDS", "-0.1", "greater than or equal to 0"),
        ("LOG_LEVEL", "hidden-value", "'debug', 'info', 'warning' or 'error'"),
        ("NATS_URL", "http://hidden-value@host", "nats:// or tls://"),
        ("NATS_REPLICAS", "6", "less than or equal to 5"),
        ("DATABASE_URL", "mysql://user:hidden-value@host", "postgresql:// or postgres://"),
        ("DATABASE_POOL", "0", "greater than or equal to 1"),
        ("BLOBS", "gs://hidden-value@bucket", "file:// or s3://"),
        ("INGEST_MAX_BYTES", "1GB-hidden-value", "integer"),
        ("NETWORKS", "10.0.0.0/8 hidden-value", "JSON"),
        ("NETWORKS", '["hidden-value"', "JSON"),
        ("NETWORKS", '{"hidden-value": 1}', "JSON list"),
    ],
)
def test_a_bad_value_is_refused_by_name_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"POSTHORN_{name}", value)
    with pytest.raises(SettingsError) as refused:
        Everything.load()
    text = str(refused.value)
    assert text.startswith("refusing to start:\n  ")
    assert f"POSTHORN_{name}: " in text
    assert said in text
    assert "hidden-value" not in text
    assert refused.value.__cause__ is None
    assert refused.value.code, "the process must not end with status 0"


def test_every_bad_or_missing_variable_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTHORN_NATS_URL")
    monkeypatch.delenv("POSTHORN_BLOBS")
    monkeypatch.setenv("POSTHORN_HEALTH_PORT", "x")
    with pytest.raises(SettingsError) as refused:
        Everything.load()
    for name in ("NATS_URL", "BLOBS", "HEALTH_PORT"):
        assert f"\n  POSTHORN_{name}: " in str(refused.value)
    assert "DATABASE_URL" not in str(refused.value)


def test_secrets_do_not_show_in_a_log() -> None:
    settings = Everything.load()
    for text in (repr(settings), str(settings), str(settings.model_dump())):
        assert "-secret" not in text


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        ProcessSettings().health_port = 1


def test_only_variables_with_the_prefix_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALTH_PORT", "1")
    assert ProcessSettings.load().health_port == 9100


def test_blocks_can_be_made_by_hand() -> None:
    assert BlobSettings(blobs=SecretStr("file:///x")).blobs.get_secret_value() == "file:///x"
    assert issubclass(Everything, EnvSettings)


def test_children_get_a_copy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    copy = environment()
    assert copy["POSTHORN_BLOBS"] == GOOD["BLOBS"]
    copy["POSTHORN_BLOBS"] = "other"
    assert os.environ["POSTHORN_BLOBS"] == GOOD["BLOBS"]


@pytest.mark.parametrize(("former", "present"), RENAMED.items())
def test_a_former_name_stops_the_start_and_names_the_present_one(
    monkeypatch: pytest.MonkeyPatch, former: str, present: str
) -> None:
    monkeypatch.setenv(f"POSTHORN_{former}".upper(), "hidden-value")
    with pytest.raises(SettingsError) as refusal:
        Everything.load()
    assert (
        f"POSTHORN_{former}: is now called POSTHORN_{present}".upper() in str(refusal.value).upper()
    )
    assert "hidden-value" not in str(refusal.value)


def test_present_names_are_settings_of_a_service_and_former_ones_are_not() -> None:
    services = (SubmissionInSettings, DeliverySettings, Pop3Settings, ApiSettings)
    fields = {name for settings in services for name in settings.model_fields}
    assert set(RENAMED.values()) <= fields
    assert not fields & RENAMED.keys()
