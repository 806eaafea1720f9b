"""Settings of the ports for balancers: networks in either form, and no such port without
networks."""

from __future__ import annotations

import base64
import ipaddress

import pytest

from posthorn.runtime.env_settings import EnvSettings, SettingsError
from posthorn_pop3.settings import Pop3Settings
from posthorn_smtp_in.settings import SmtpInSettings, SubmissionInSettings

PORTS: list[tuple[str, type[EnvSettings]]] = [
    ("POSTHORN_SMTP_PROXY_PORT", SmtpInSettings),
    ("POSTHORN_SUBMISSION_PROXY_PORT", SubmissionInSettings),
    ("POSTHORN_SUBMISSIONS_PROXY_PORT", SubmissionInSettings),
    ("POSTHORN_POP3_PROXY_PORT", Pop3Settings),
    ("POSTHORN_POP3S_PROXY_PORT", Pop3Settings),
]
NETWORKS = "POSTHORN_PROXY_NETWORKS"


@pytest.fixture(autouse=True)
def backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHORN_NATS_URL", "nats://127.0.0.1:4222")
    monkeypatch.setenv("POSTHORN_DATABASE_URL", "postgresql://127.0.0.1/x")
    monkeypatch.setenv("POSTHORN_BLOBS", "file:///tmp/blobs")
    monkeypatch.setenv("POSTHORN_SRS_KEY", base64.b64encode(bytes(32)).decode())


@pytest.mark.parametrize(
    ("value", "networks"),
    [
        ("", []),
        ("[]", []),
        ("10.0.0.0/8", ["10.0.0.0/8"]),
        ("10.0.0.0/8,192.0.2.7", ["10.0.0.0/8", "192.0.2.7/32"]),
        (" 10.0.0.0/8 , 2001:db8::/32, ", ["10.0.0.0/8", "2001:db8::/32"]),
        ('["10.0.0.0/8", "2001:db8::/32"]', ["10.0.0.0/8", "2001:db8::/32"]),
        ("::ffff:10.0.0.0/104", ["10.0.0.0/8"]),
    ],
)
def test_networks_by_comma_or_as_json(
    monkeypatch: pytest.MonkeyPatch, value: str, networks: list[str]
) -> None:
    monkeypatch.setenv(NETWORKS, value)
    for read in (SmtpInSettings, SubmissionInSettings, Pop3Settings):
        assert list(read.load().proxy_networks) == list(map(ipaddress.ip_network, networks))


@pytest.mark.parametrize(
    "value",
    [
        "balancer",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "0.0.0.0/0",
        "::/0",
        "::ffff:0:0/96",
        "[",
        '[["10.0.0.0/8"]]',
        "[10]",
    ],
)
def test_networks_that_are_none_or_everybodys_stop_the_start(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(NETWORKS, value)
    for read in (SmtpInSettings, Pop3Settings):
        with pytest.raises(SettingsError, match=NETWORKS):
            read.load()


@pytest.mark.parametrize(("variable", "read"), PORTS)
def test_a_port_for_balancers_needs_their_networks(
    monkeypatch: pytest.MonkeyPatch, variable: str, read: type[EnvSettings]
) -> None:
    field = variable.removeprefix("POSTHORN_").lower()
    assert getattr(read.load(), field) is None
    monkeypatch.setenv(variable, "3525")
    monkeypatch.setenv("POSTHORN_TLS_DIR", "/etc/posthorn/tls")  # those with TLS need it
    for networks in ("", "[]"):
        monkeypatch.setenv(NETWORKS, networks)
        with pytest.raises(SettingsError, match=f"{variable}: .*{NETWORKS}"):
            read.load()
    monkeypatch.setenv(NETWORKS, "10.0.0.0/8")
    assert getattr(read.load(), field) == 3525
    monkeypatch.setenv(variable, "70000")
    with pytest.raises(SettingsError, match=variable):
        read.load()
