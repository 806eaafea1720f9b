"""What the API is told of the names by which the mail system is reached, and what stands in for
what it is not told."""

from __future__ import annotations

import pytest

from posthorn.model.dns_records import Endpoint
from posthorn.runtime.env_settings import SettingsError
from posthorn.wire.mta_sts import Mode
from posthorn_api.settings import PublicSettings
from tests.support.only_settings import set_only


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    set_only(monkeypatch, {})


def test_unset_names_are_those_of_the_mx(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PublicSettings.load().presence.mx == ("localhost",)
    monkeypatch.setenv("POSTHORN_SMTP_HOSTNAME", "Mail.Post.test")
    monkeypatch.setenv("POSTHORN_PUBLIC_WEB", "")
    presence = PublicSettings.load().presence
    assert presence.mx == ("mail.post.test",)
    assert presence.web == "mail.post.test"
    assert presence.submissions == Endpoint("mail.post.test", 465)
    assert presence.imaps == Endpoint("mail.post.test", 993)
    assert presence.imap == Endpoint("mail.post.test", 143)
    assert presence.pop3s == Endpoint("mail.post.test", 995)
    assert presence.spf_mechanisms == ("mx",)
    assert presence.mta_sts is Mode.TESTING


def test_everything_can_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PUBLIC_MX": "mx1.post.test, mx2.post.test.",
        "PUBLIC_SUBMISSION": "smtp.post.test",
        "PUBLIC_SUBMISSION_PORT": "0",
        "PUBLIC_IMAP": "imap.post.test",
        "PUBLIC_IMAP_PORT": "0",
        "PUBLIC_POP3": "pop.post.test",
        "PUBLIC_WEB": "web.post.test",
        "PUBLIC_MTA_STS": "enforce",
        "PUBLIC_REPORTS": "Reports@post.test",
        "OUTBOUND_ADDRESSES": '["192.0.2.1", "192.0.2.128/28", "2001:DB8::1/128"]',
        "RELAY_HOSTNAME": "out.post.test",
        "RELAY_DNS_SERVERS": '["127.0.0.1:5353"]',
    }.items():
        monkeypatch.setenv(f"POSTHORN_{name}", value)
    settings = PublicSettings.load()
    presence = settings.presence
    assert settings.relay_dns_servers == ("127.0.0.1:5353",)
    assert presence.mx == ("mx1.post.test", "mx2.post.test")
    assert (presence.submission, presence.submissions) == (
        Endpoint("smtp.post.test", 0),
        Endpoint("smtp.post.test", 465),
    )
    assert (presence.imap, presence.imaps) == (
        Endpoint("imap.post.test", 0),
        Endpoint("imap.post.test", 993),
    )
    assert presence.offers_imap
    assert presence.web == "web.post.test"
    assert presence.reports == "reports@post.test"
    assert presence.outgoing_name == "out.post.test"
    assert presence.policy.mode is Mode.ENFORCE
    assert presence.spf_mechanisms == ("ip4:192.0.2.1", "ip4:192.0.2.128/28", "ip6:2001:db8::1")
    monkeypatch.setenv("POSTHORN_PUBLIC_SPF_INCLUDE", "_SPF.post.test")
    assert PublicSettings.load().presence.spf_include == "_spf.post.test"
    with pytest.raises(SettingsError, match="POSTHORN_PUBLIC_SPF_INCLUDE"):
        monkeypatch.setenv("POSTHORN_PUBLIC_SPF_INCLUDE", "two words")
        PublicSettings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PUBLIC_MX", "[192.0.2.1]"),
        ("PUBLIC_MX", "mx1.test,,two words"),
        ("PUBLIC_MX", '["mx1.test"'),
        ("PUBLIC_WEB", "a b"),
        ("PUBLIC_REPORTS", "nobody"),
        ("PUBLIC_MTA_STS", "sometimes"),
        ("OUTBOUND_ADDRESSES", "mx1.post.test"),
        ("OUTBOUND_ADDRESSES", "192.0.2.1/24"),
        ("PUBLIC_POP3_PORT", "70000"),
        ("PUBLIC_IMAPS_PORT", "-1"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"POSTHORN_{name}", value)
    with pytest.raises(SettingsError, match=f"POSTHORN_{name}"):
        PublicSettings.load()
