"""Settings of the IMAP service: what is refused at start, by the variable's name."""

from __future__ import annotations

import pytest

from posthorn.runtime.env_settings import SettingsError
from posthorn_imap.settings import ImapSettings


@pytest.fixture(autouse=True)
def backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHORN_NATS_URL", "nats://127.0.0.1:4222")
    monkeypatch.setenv("POSTHORN_BLOBS", "file:///tmp/blobs")
    monkeypatch.setenv("POSTHORN_DATABASE_URL", "postgresql://x@127.0.0.1/x")


def test_a_client_that_waits_has_the_time_of_rfc_9051() -> None:
    settings = ImapSettings.load()
    assert settings.imap_idle_seconds >= 1800  # §5.4
    assert settings.imap_cleartext == "never"
    assert settings.imap_hidden_capabilities == ()


@pytest.mark.parametrize("text", ["qresync, UTF8=accept", '["QRESYNC", "UTF8=ACCEPT"]'])
def test_capabilities_are_hidden_by_name(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("POSTHORN_IMAP_HIDDEN_CAPABILITIES", text)
    assert ImapSettings.load().imap_hidden_capabilities == ("QRESYNC", "UTF8=ACCEPT")
    monkeypatch.setenv("POSTHORN_IMAP_HIDDEN_CAPABILITIES", "QRESYNC,FASTER")
    with pytest.raises(SettingsError, match="POSTHORN_IMAP_HIDDEN_CAPABILITIES"):
        ImapSettings.load()
