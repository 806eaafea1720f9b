"""Every setting of every process: a value that cannot be used stops the start with a line that
names the variable, and never shows the value."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from deploy.helm.settings import CLASSES

from posthorn.adapters.postgres.migrate import MigrateSettings
from posthorn.runtime.canary.settings import CanarySettings
from posthorn.runtime.env_settings import EnvSettings, SettingsError
from posthorn_local.settings import LocalSettings
from tests.support.only_settings import set_only

_KEY = "A" * 43 + "="
_NEEDED = {
    "nats_url": "nats://127.0.0.1:4222",
    "database_url": "postgresql://posthorn@127.0.0.1/posthorn",
    "blobs": "file:///var/lib/posthorn",
    "secret_key": _KEY,
    "srs_key": _KEY,
    "canary_address": "canary@example.org",
    "canary_password": "a password",
    "canary_pop3": "127.0.0.1:110",
    "canary_smtp": "127.0.0.1:25",
}
_HIDDEN = "hidden value!"
_BAD = (
    _HIDDEN,
    f'["{_HIDDEN}"]',
    f'{{"{_HIDDEN}": 1}}',
    f"[{_HIDDEN}",
    f"http://{_HIDDEN}",
    "",
    "-1",
    "1e999",
)
_OWNERS: dict[str, type[EnvSettings]] = {
    **CLASSES,
    "migrate": MigrateSettings,
    "canary": CanarySettings,
    "local": LocalSettings,
}
_PYTHON = re.compile(
    r"[Ii]nput|Value error|tuple|dictionary|parse|Field required|Expecting value|pattern"
)
"""Words of libraries that tell an operator nothing."""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    set_only(monkeypatch, {name.upper(): value for name, value in _NEEDED.items()})


_BLOCKS = {
    name: next(
        base
        for base in reversed(owner.__mro__)
        if issubclass(base, EnvSettings) and name in base.model_fields
    )
    for owner in _OWNERS.values()
    for name in owner.model_fields
}
"""Each setting with the block that declares it."""


@pytest.mark.parametrize(("name", "block"), _BLOCKS.items())
def test_a_bad_value_is_refused_by_its_variable_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, block: type[EnvSettings]
) -> None:
    variable = f"POSTHORN_{name.upper()}"
    for value in _BAD:
        monkeypatch.setenv(variable, value)
        try:
            block.load()
        except SettingsError as refusal:
            first, *lines = str(refusal).splitlines()
            assert first == "refusing to start:"
            assert any(variable in line for line in lines), (value, lines)
            assert all(re.match(r"  POSTHORN_[A-Z0-9_]+(: |, POSTHORN_)", line) for line in lines)
            assert _HIDDEN not in str(refusal)
            assert not _PYTHON.search(str(refusal)), (value, lines)


@pytest.mark.parametrize("service", _OWNERS)
def test_each_variable_that_must_be_set_is_named_when_it_is_not(
    monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    owner = _OWNERS[service]
    required = [name for name, field in owner.model_fields.items() if field.is_required()]
    for name in required:
        monkeypatch.delenv(f"POSTHORN_{name.upper()}")
    if not required:
        owner.load()
        return
    with pytest.raises(SettingsError) as refusal:
        owner.load()
    assert str(refusal.value).splitlines()[1:] == [
        f"  POSTHORN_{name.upper()}: must be set" for name in required
    ]


@pytest.mark.parametrize(
    ("service", "given", "said"),
    [
        (
            "api",
            {"API_ADMIN_KEY": "ph_" + "x" * 43, "API_ADMIN_KEY_FILE": "admin.key"},
            "POSTHORN_API_ADMIN_KEY, POSTHORN_API_ADMIN_KEY_FILE: only one of them may be set",
        ),
        (
            "pop3",
            {"OIDC_ISSUER": "https://issuer.example.org"},
            "POSTHORN_OIDC_AUDIENCE: must be set beside POSTHORN_OIDC_ISSUER",
        ),
        (
            "imap",
            {"IMAP_PROXY_PORT": "1143"},
            "POSTHORN_IMAP_PROXY_PORT: needs POSTHORN_PROXY_NETWORKS",
        ),
        (
            "relay",
            {"RELAY_RETRY_FIRST_SECONDS": "20000"},
            "POSTHORN_RELAY_RETRY_FIRST_SECONDS: must be at most POSTHORN_RELAY_RETRY_LAST_SECONDS, "
            "which is not set and so 14400",
        ),
        (
            "smtpIn",
            {"SMTP_MESSAGE_MAX_BYTES": "200", "SMTP_SPOOL_BYTES": "100"},
            "POSTHORN_SMTP_MESSAGE_MAX_BYTES: must be at most POSTHORN_SMTP_SPOOL_BYTES",
        ),
        (
            "relay",
            {"RELAY_BIND_IPV6": "2001:db8::1", "RELAY_IPV6": "false"},
            "POSTHORN_RELAY_BIND_IPV6: needs POSTHORN_RELAY_IPV6=true",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, service: str, given: dict[str, str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "admin.key").write_text("ph_" + "y" * 43)
    for name, value in given.items():
        monkeypatch.setenv(f"POSTHORN_{name}", value)
    with pytest.raises(SettingsError) as refusal:
        _OWNERS[service].load()
    assert f"\n  {said}" in str(refusal.value)


_PAIRS = [
    (kind, *pair, owner)
    for kind in ("ORDERED", "NEEDED")
    for pair, owner in {
        pair: owner for owner in _OWNERS.values() for pair in owner.pairs(kind)
    }.items()
]
_ALONE = {
    "imaps_proxy_port": "3993",
    "oidc_audience": "mail",
    "oidc_client_id": "posthorn",
    "oidc_client_secret": "a secret",
    "oidc_mail_domains": "example.org",
    "oidc_mail_scope": "mail",
    "oidc_platform": "true",
    "oidc_redirect_uri": "https://mail.example.org/v1/login/oidc/callback",
    "oidc_roles": '{"admins": "tenant-admin"}',
    "pop3s_proxy_port": "3995",
    "relay_bind_ipv6": "2001:db8::1",
    "submissions_proxy_port": "3465",
}
"""A value of each setting that needs another."""


@pytest.mark.parametrize(("kind", "first", "second", "owner"), _PAIRS)
def test_a_pair_that_contradicts_itself_is_refused_by_both_names(
    monkeypatch: pytest.MonkeyPatch, kind: str, first: str, second: str, owner: type[EnvSettings]
) -> None:
    variables = [f"POSTHORN_{name.upper()}" for name in (first, second)]
    if kind == "ORDERED":
        monkeypatch.setenv(variables[0], "20001")
        monkeypatch.setenv(variables[1], "20001")
        owner.load()
        monkeypatch.setenv(variables[1], "20000")
        said = f"{variables[0]}: must be at most {variables[1]}"
    else:
        monkeypatch.setenv("POSTHORN_PROXY_NETWORKS", "10.0.0.0/8")
        monkeypatch.setenv(variables[0], _ALONE[first])
        if owner.model_fields[second].default is True:
            monkeypatch.setenv(variables[1], "false")
        said = f"{variables[0]}: needs {variables[1]}"
    with pytest.raises(SettingsError) as refusal:
        owner.load()
    assert said in str(refusal.value)


@pytest.mark.parametrize("part", ["smtp_in", "delivery", "scan", "relay", "pop3", "imap", "api"])
def test_a_process_that_refuses_ends_with_status_1_and_no_traceback(part: str) -> None:
    environment = {"PATH": os.environ["PATH"], "POSTHORN_HEALTH_PORT": "none"}
    ended = subprocess.run(
        [sys.executable, "-c", f"from posthorn_{part}.main import main; main()"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("refusing to start:\n  POSTHORN_")
    assert "POSTHORN_HEALTH_PORT: must be an integer" in ended.stderr
    assert "Traceback" not in ended.stderr
