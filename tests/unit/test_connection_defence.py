"""Counts and bans of one process: who is counted, for how long, and what is kept of it."""

from __future__ import annotations

import pytest

from posthorn.ports.scan import Report
from posthorn_smtp_in import defence
from posthorn_smtp_in.defence import MOST_CREDIT, PATIENT_WITH, ConnectionDefence
from posthorn_smtp_in.settings import SmtpSettings
from tests.support.clock import Clock


def made(clock: Clock | None = None, **changes: object) -> ConnectionDefence:
    values = {"smtp_hostname": "mx.example.test", "proxy_networks": "198.51.100.0/24"}
    return ConnectionDefence(SmtpSettings.model_validate(values | changes), clock=clock or Clock())


@pytest.mark.parametrize(
    ("address", "is_stranger"),
    [
        ("203.0.113.9", True),
        ("2001:db8::7", True),
        ("::ffff:203.0.113.9", True),
        ("127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("100.64.0.1", False),
        ("198.51.100.7", False),
        ("::ffff:198.51.100.7", False),
        ("", False),
        ("unix", False),
    ],
)
def test_strangers_are_public_addresses_but_for_our_load_balancers(
    address: str, is_stranger: bool
) -> None:
    found = made(smtp_ban_faults=1, smtp_greeting_delay_seconds=2, smtp_tarpit_seconds=3)
    assert found.is_stranger(address) is is_stranger
    found.fault(address, "protocol")
    assert found.is_banned(address) is is_stranger
    assert found.greeting_delay(address, stressed=False) == (2 if is_stranger else 0)
    assert found.greeting_delay(address, stressed=True) == 0
    assert found.tarpit(address, PATIENT_WITH, stressed=False) == 0
    assert found.tarpit(address, PATIENT_WITH + 1, stressed=False) == (3 if is_stranger else 0)
    assert found.tarpit(address, PATIENT_WITH + 1, stressed=True) == 0


def test_one_client_is_an_ipv4_address_however_written_or_a_64_of_ipv6() -> None:
    found = made(smtp_ban_faults=2)
    for address in ("203.0.113.9", "::ffff:203.0.113.9", "2001:db8::7", "2001:db8::8"):
        found.fault(address, "protocol")
    assert found.is_banned("203.0.113.9") and found.is_banned("2001:db8::9")
    assert not found.is_banned("203.0.113.10") and not found.is_banned("2001:db8:0:1::7")


def test_bans_and_counts_pass() -> None:
    clock = Clock()
    found = made(clock, smtp_ban_faults=2, smtp_ban_seconds=60)
    found.fault("203.0.113.9", "protocol")
    clock.now += 60
    found.fault("203.0.113.9", "protocol")
    assert not found.is_banned("203.0.113.9"), "the first one is too long ago"
    found.fault("203.0.113.9", "protocol")
    assert found.is_banned("203.0.113.9")
    clock.now += 60
    assert not found.is_banned("203.0.113.9")
    found.fault("203.0.113.9", "protocol")
    assert not found.is_banned("203.0.113.9"), "it is counted anew"


def test_good_mail_takes_faults_off() -> None:
    found = made(smtp_ban_faults=2)
    for _ in range(5):
        found.fault("203.0.113.9", "unknown-recipient")
        found.accepted("203.0.113.9")
    assert not found.is_banned("203.0.113.9")


class Reports:
    """Takes reports."""

    def __init__(self) -> None:
        self.kinds: list[str] = []

    def report(self, report: Report) -> None:
        self.kinds.append(report.kind)


def test_a_user_of_a_provider_cannot_get_its_hosts_banned_everywhere() -> None:
    reports = Reports()
    found = ConnectionDefence(
        SmtpSettings.model_validate({"smtp_hostname": "mx.example.test", "smtp_ban_faults": 3}),
        scanner=reports,  # type: ignore[arg-type]
        clock=Clock(),
    )
    for _ in range(2 * MOST_CREDIT):
        found.accepted("203.0.113.9")
    for _ in range(MOST_CREDIT):
        found.fault("203.0.113.9", "unknown-recipient")
    assert not reports.kinds and not found.is_banned("203.0.113.9")
    for _ in range(3):
        found.fault("203.0.113.9", "unknown-recipient")
    assert reports.kinds == ["unknown-recipient"] * 3, "a list without end is a harvest"
    assert found.is_banned("203.0.113.9")


def test_nobody_is_banned_without_the_setting() -> None:
    found = made(smtp_ban_faults=1, smtp_ban_seconds=0)
    found.fault("203.0.113.9", "protocol")
    assert not found.is_banned("203.0.113.9")


def test_what_is_remembered_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defence, "MOST_CLIENTS", 3)
    found = made(smtp_ban_faults=2)
    for number in range(10):
        found.fault(f"203.0.113.{number}", "protocol")
        found.fault(f"192.0.2.{number}", "protocol")
        found.fault(f"192.0.2.{number}", "protocol")
        found.accepted(f"198.18.0.{number}")
        found.accepted(f"203.0.113.{number}")
    assert len(found._faults) <= 3 and len(found._banned) == 3 and len(found._credit) <= 3
    assert found.is_banned("192.0.2.9") and not found.is_banned("192.0.2.0")
