"""Settings of smtp-in: what is refused at start, by the variable's name."""

from __future__ import annotations

import base64
import inspect

import pytest

from posthorn.runtime.env_settings import EnvSettings, SettingsError
from posthorn_smtp_in import settings as module
from posthorn_smtp_in.settings import SmtpInSettings, SubmissionInSettings


@pytest.fixture(autouse=True)
def backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHORN_NATS_URL", "nats://127.0.0.1:4222")
    monkeypatch.setenv("POSTHORN_BLOBS", "file:///tmp/blobs")
    monkeypatch.setenv("POSTHORN_SRS_KEY", base64.b64encode(bytes(32)).decode())


def test_the_defaults_serve() -> None:
    settings = SmtpInSettings.load()
    assert settings.smtp_message_max_bytes == 50 * 1024**2
    assert settings.smtp_max_recipients == 100
    assert settings.smtp_hostname == "localhost"


def test_a_client_has_the_times_of_rfc_5321_by_default() -> None:
    settings = SmtpInSettings.load()
    assert settings.smtp_command_seconds >= 300  # §4.5.3.2.7
    assert settings.smtp_data_seconds >= 180  # §4.5.3.2.5


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("POSTHORN_SMTP_HOSTNAME", ""),
        ("POSTHORN_SMTP_HOSTNAME", "two words"),
        ("POSTHORN_SMTP_HOSTNAME", "mx.example.test\r\nX: y"),
        ("POSTHORN_SMTP_POSTMASTER", "nobody"),
        ("POSTHORN_SMTP_PORT", "70000"),
        ("POSTHORN_SMTP_MAX_RECIPIENTS", "0"),
        ("POSTHORN_SMTP_COMMAND_SECONDS", "0"),
        ("POSTHORN_SMTP_INLINE_BYTES", "1000000"),  # would not pass through NATS
    ],
)
def test_bad_values_stop_the_start(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable):
        SmtpInSettings.load()


def test_names_are_canonical(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHORN_SMTP_HOSTNAME", "MX.Example.Test.")
    monkeypatch.setenv("POSTHORN_SMTP_POSTMASTER", "Postmaster@Example.Test")
    settings = SmtpInSettings.load()
    assert settings.smtp_hostname == "mx.example.test"
    assert settings.smtp_postmaster == "postmaster@example.test"


def test_the_role_mx_needs_no_postgres_and_submission_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SmtpInSettings.load().smtp_role == "mx"
    monkeypatch.setenv("POSTHORN_SMTP_ROLE", "submission")
    with pytest.raises(SettingsError, match="POSTHORN_DATABASE_URL"):
        SubmissionInSettings.load()
    monkeypatch.setenv("POSTHORN_DATABASE_URL", "postgresql://127.0.0.1/posthorn")
    settings = SubmissionInSettings.load()
    assert (settings.smtp_role, settings.smtp_cleartext_auth) == ("submission", "never")
    assert (settings.submission_messages_per_hour, settings.submission_recipients_per_hour) == (
        1000,
        5000,
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("POSTHORN_SMTP_ROLE", "relay"),
        ("POSTHORN_SMTP_CLEARTEXT_AUTH", "always"),
        ("POSTHORN_SUBMISSION_PORT", "-1"),
        ("POSTHORN_SUBMISSION_MESSAGES_PER_HOUR", "-1"),
        ("POSTHORN_SUBMISSION_FAILURE_DELAY_SECONDS", "9"),
        ("POSTHORN_SRS_KEY", "short"),
    ],
)
def test_bad_values_of_submission_stop_the_start(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("POSTHORN_DATABASE_URL", "postgresql://127.0.0.1/posthorn")
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable):
        SubmissionInSettings.load()


def test_every_field_is_documented() -> None:
    blocks = [
        block for block in module.SubmissionSettings.__mro__ if issubclass(block, EnvSettings)
    ]
    source = "".join(inspect.getsource(block) for block in blocks)
    for name in module.SubmissionSettings.model_fields:
        after = source.partition(f"    {name}:")[2].splitlines()[1]
        assert after.strip().startswith('"""'), name
