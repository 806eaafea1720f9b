"""Attempts are counted by a bounded set of providers and the class of the reply."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from posthorn_relay.mail_providers import OTHER, count_attempt, provider_of
from posthorn_relay.smtp.types import Accepted, Failed


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("gmail-smtp-in.l.google.com (192.0.2.1)", "google"),
        ("EXAMPLE-COM.mail.protection.outlook.com. (2001:db8::1)", "microsoft"),
        ("mta5.am0.yahoodns.net", "yahoo"),
        ("outlook.com.example.test (192.0.2.1)", OTHER),
        ("notgoogle.com", OTHER),
        ("[192.0.2.1] (192.0.2.1)", OTHER),
        ("localhost", OTHER),
        ("", OTHER),
    ],
)
def test_a_provider_is_told_from_the_name_of_its_mx(host: str, provider: str) -> None:
    assert provider_of(host) == provider


def test_attempts_are_counted_by_provider_and_class() -> None:
    def counted(provider: str, status: str) -> float:
        labels = {"provider": provider, "status": status}
        found = REGISTRY.get_sample_value("posthorn_relay_provider_attempts_total", labels)
        return found or 0.0

    cases = ("google", "2xx"), ("apple", "4xx"), (OTHER, "5xx"), (OTHER, "none")
    before = [counted(*case) for case in cases]
    count_attempt(Accepted("250 2.0.0 OK", "aspmx.l.google.com (192.0.2.1)", "", dsn=False))
    count_attempt(Failed("rcpt", 451, "4.7.1", "", False, "mx01.mail.icloud.com (192.0.2.2)"))
    count_attempt(Failed("rcpt", 550, "5.1.1", "", True, "mx.example.test (192.0.2.3)"))
    count_attempt(Failed("dns", 0, "4.4.3", "", False))
    assert [counted(*case) for case in cases] == [one + 1 for one in before]
