"""Derived keys, and which part is given which key."""

from __future__ import annotations

import base64

import pytest

from posthorn.runtime.derived_keys import SRS, derive, main
from posthorn.runtime.env_settings import SettingsError
from posthorn.runtime.secret_box import SecretBox
from posthorn.runtime.settings import SecretSettings, SrsSettings, key_list
from posthorn.wire import srs
from posthorn_api.settings import ApiSettings
from posthorn_delivery.settings import DeliverySettings
from posthorn_pop3.settings import Pop3Settings
from posthorn_relay.settings import RelaySettings
from posthorn_smtp_in.settings import SmtpInSettings, SubmissionInSettings

NEW, OLD = bytes(range(32)), b"o" * 32


def test_the_doors_have_the_derived_key_and_never_the_master_key() -> None:
    for door in (SmtpInSettings, SubmissionInSettings):
        assert "srs_key" in door.model_fields
        assert "secret_key" not in door.model_fields
    assert not {"srs_key", "secret_key"} & Pop3Settings.model_fields.keys()
    for sealing in (DeliverySettings, RelaySettings, ApiSettings):
        assert "secret_key" in sealing.model_fields


def test_an_address_rewritten_by_delivery_is_recognised_with_the_printed_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one that was rewritten by a release before, and one under the key before a rotation."""
    monkeypatch.setenv(
        "POSTHORN_SECRET_KEY", ", ".join(base64.b64encode(key).decode() for key in (NEW, OLD))
    )
    main()
    name, _, value = capsys.readouterr().out.strip().partition("=")
    assert name == "POSTHORN_SRS_KEY"
    printed = [base64.b64decode(key) for key in value.split(",")]
    assert printed == SecretBox.from_settings(SecretSettings.load()).derived("srs")
    for master in (NEW, OLD):
        rewritten = srs.rewrite("alice@example.org", "example.test", derive(master, SRS), 20_000)
        assert srs.reverse(rewritten.rpartition("@")[0], printed, 20_001) == "alice@example.org"
    assert not set(printed) & {NEW, OLD}
    assert value not in (key.decode() for key in map(base64.b64encode, (NEW, OLD)))


@pytest.mark.parametrize("printed", ["x", f"POSTHORN_SRS_KEY={base64.b64encode(NEW).decode()}"])
def test_keys_of_ones_own_in_the_place_of_derived_ones_are_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, printed: str
) -> None:
    monkeypatch.setenv("POSTHORN_SRS_KEY", printed)
    with pytest.raises(SettingsError, match="must be what `posthorn-keys` prints"):
        SrsSettings.load()


def test_keys_are_read_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "POSTHORN_SECRET_KEY", ",".join(base64.b64encode(key).decode() for key in (NEW, OLD))
    )
    assert key_list(SecretSettings.load().secret_key) == [NEW, OLD]


def test_passwords_in_the_clear_are_taken_nowhere_unless_told() -> None:
    """Behind a proxy in the pod every client seems to be on this very host."""
    assert Pop3Settings.model_fields["pop3_cleartext"].default == "never"
    assert SubmissionInSettings.model_fields["smtp_cleartext_auth"].default == "never"
