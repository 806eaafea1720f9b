"""Settings of OpenID Connect: what is refused at start, and what they come to."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from posthorn.ports.api_keys import Role
from posthorn.runtime.env_settings import SettingsError
from posthorn.runtime.oidc.settings import OidcMailSettings
from posthorn.runtime.oidc.trust import MailTrust, is_safe
from posthorn_api.settings import OidcSettings

ISSUER = "https://id.example.org/realms/mail"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    def loaded(**values: str) -> OidcSettings:
        for name, value in values.items():
            monkeypatch.setenv(f"POSTHORN_OIDC_{name.upper()}", value)
        return OidcSettings.load()

    return loaded


def test_without_an_issuer_there_are_keys_only(load: Any) -> None:
    assert load().oidc is None
    assert load(issuer="").oidc is None


def test_what_is_set_is_what_is_trusted(load: Any) -> None:
    trust = load(
        issuer=ISSUER,
        audience="posthorn, mail",
        role_claim="realm_access.roles",
        roles='{"mail-admins": "tenant-admin"}',
        tenant_claim="org",
        platform="true",
        leeway_seconds="5",
    ).oidc
    assert (trust.issuer, trust.audiences) == (ISSUER, ("posthorn", "mail"))
    assert (trust.role_claim, trust.tenant_claim) == ("realm_access.roles", "org")
    assert trust.roles == {"mail-admins": Role.TENANT_ADMIN}
    assert (trust.platform, trust.leeway_seconds) == (True, 5.0)


def test_by_default_roles_are_called_as_ours_and_the_platform_is_closed(load: Any) -> None:
    trust = load(issuer=ISSUER, audience="posthorn").oidc
    assert trust.roles == {role.value: role for role in Role if role is not Role.ACCOUNT}
    assert not trust.platform


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"issuer": "http://id.example.org", "audience": "a"}, "POSTHORN_OIDC_ISSUER"),
        ({"issuer": "https://id.example.org?x", "audience": "a"}, "POSTHORN_OIDC_ISSUER"),
        ({"issuer": "id.example.org", "audience": "a"}, "POSTHORN_OIDC_ISSUER"),
        ({"issuer": ISSUER}, "OIDC_AUDIENCE"),
        ({"issuer": ISSUER, "audience": "a", "roles": '{"x": "emperor"}'}, "POSTHORN_OIDC_ROLES"),
        ({"issuer": ISSUER, "audience": "a", "roles": "x=read-only"}, "POSTHORN_OIDC_ROLES"),
        (
            {"issuer": ISSUER, "audience": "a", "leeway_seconds": "3600"},
            "POSTHORN_OIDC_LEEWAY_SECONDS",
        ),
        ({"issuer": ISSUER, "audience": "a", "role_claim": ""}, "POSTHORN_OIDC_ROLE_CLAIM"),
    ],
)
def test_what_cannot_be_used_stops_the_start(load: Any, values: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load(**values)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        (ISSUER, True),
        ("http://127.0.0.1:8080/x", True),
        ("http://localhost/x", True),
        ("http://[::1]:8080/", True),
        ("http://10.0.0.1/", False),
        ("http://localhost.example.org/", False),
        ("http://127.0.0.1@example.org/", False),
        ("https://user@example.org/", False),
        ("https:///x", False),
        ("https://example.org:port/", False),
        ("https://[::1/", False),
        ("https://example.org/#x", False),
        ("file:///etc/passwd", False),
        ("", False),
    ],
)
def test_documents_come_over_https_or_from_this_host(url: str, safe: bool) -> None:
    assert is_safe(url) is safe


def test_tokens_open_mailboxes_as_the_settings_say(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(issuer=ISSUER, audience="mail")
    trust = OidcMailSettings.load().mail_trust
    assert trust == MailTrust(ISSUER, ("mail",))
    load(address_claim="upn", mail_domains="Example.ORG, b.test", mail_scope="mail")
    trust = OidcMailSettings.load().mail_trust
    assert trust is not None
    assert (trust.address_claim, trust.scope) == ("upn", "mail")
    assert trust.domains == {"example.org", "b.test"}
    load(mail_domains="not a domain")
    with pytest.raises(SettingsError, match="POSTHORN_OIDC_MAIL_DOMAINS"):
        OidcMailSettings.load()
    for name in ("ISSUER", "AUDIENCE", "MAIL_DOMAINS", "MAIL_SCOPE"):
        monkeypatch.delenv(f"POSTHORN_OIDC_{name}")
    assert OidcMailSettings.load().mail_trust is None


def test_without_an_issuer_nothing_that_verifies_tokens_is_loaded() -> None:
    modules = "posthorn_smtp_in.composition, posthorn_imap.composition, posthorn_pop3.composition"
    code = f"import sys, {modules}; print('jwt' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
