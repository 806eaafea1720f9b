"""Secrets at rest: they open where they belong, under the keys that are known, and nowhere else."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.runtime.env_settings import SettingsError
from posthorn.runtime.secret_box import DecryptionFailed, SecretBox
from posthorn.runtime.settings import SecretSettings

OLD, NEW = b"o" * 32, b"n" * 32


@given(secret=st.binary(max_size=3000), context=st.text(max_size=100))
def test_what_is_sealed_opens_in_its_context(secret: bytes, context: str) -> None:
    secret_box = SecretBox([NEW])
    assert secret_box.decrypt(secret_box.encrypt(secret, context), context) == secret


def test_a_secret_does_not_show_and_never_looks_the_same() -> None:
    secret_box = SecretBox([NEW])
    one, other = (
        secret_box.encrypt(b"hunter2 hunter2", "route:a"),
        secret_box.encrypt(b"hunter2 hunter2", "route:a"),
    )
    assert one != other
    assert b"hunter2" not in one + other


def test_it_opens_nowhere_else() -> None:
    encrypted = SecretBox([NEW]).encrypt(b"secret", "dkim:1")
    for secret_box, context in (
        (SecretBox([NEW]), "dkim:2"),
        (SecretBox([NEW]), ""),
        (SecretBox([OLD]), "dkim:1"),
        (SecretBox([]), "dkim:1"),
    ):
        with pytest.raises(DecryptionFailed):
            secret_box.decrypt(encrypted, context)


def test_a_changed_octet_is_noticed_wherever_it_is() -> None:
    secret_box = SecretBox([NEW])
    encrypted = secret_box.encrypt(b"secret", "x")
    for place in range(len(encrypted)):
        changed = encrypted[:place] + bytes([encrypted[place] ^ 1]) + encrypted[place + 1 :]
        with pytest.raises(DecryptionFailed):
            secret_box.decrypt(changed, "x")
    for end in range(len(encrypted)):
        with pytest.raises(DecryptionFailed):
            secret_box.decrypt(encrypted[:end], "x")


def test_a_key_is_replaced_step_by_step() -> None:
    old = SecretBox([OLD]).encrypt(b"secret", "x")
    both = SecretBox([NEW, OLD])
    assert both.decrypt(old, "x") == b"secret"
    new = both.encrypt(b"secret", "x")
    assert SecretBox([NEW]).decrypt(new, "x") == b"secret"
    with pytest.raises(DecryptionFailed):
        SecretBox([OLD]).decrypt(new, "x")


def test_keys_for_other_purposes_are_the_same_everywhere_and_differ_by_purpose() -> None:
    srs = SecretBox([NEW, OLD]).derived("srs")
    assert srs == SecretBox([NEW, OLD]).derived("srs")
    assert srs[1:] == SecretBox([OLD]).derived("srs")
    assert [len(key) for key in srs] == [32, 32]
    assert len({*srs, *SecretBox([NEW, OLD]).derived("other"), NEW, OLD}) == 6


def _set(monkeypatch: pytest.MonkeyPatch, *keys: bytes) -> None:
    monkeypatch.setenv(
        "POSTHORN_SECRET_KEY", ", ".join(base64.b64encode(key).decode() for key in keys)
    )


def test_the_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, NEW, OLD)
    secret_box = SecretBox.from_settings(SecretSettings.load())
    assert secret_box.decrypt(SecretBox([OLD]).encrypt(b"secret", "x"), "x") == b"secret"
    assert SecretBox([NEW]).decrypt(secret_box.encrypt(b"secret", "x"), "x") == b"secret"


@pytest.mark.parametrize(
    "value", ["", "short", base64.b64encode(b"x" * 31).decode(), "!" * 44, f"{'A' * 43}=,"]
)
def test_a_bad_key_stops_the_start_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("POSTHORN_SECRET_KEY", value)
    with pytest.raises(SettingsError) as stopped:
        SecretSettings.load()
    assert "POSTHORN_SECRET_KEY" in str(stopped.value)
    assert "openssl rand -base64 32" in str(stopped.value)
    assert len(value) < 10 or value not in str(stopped.value)
