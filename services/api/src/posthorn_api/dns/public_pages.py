"""What anybody may read about a domain of ours: its MTA-STS policy (RFC 8461) and the settings for
mail clients.

Rules:

- A domain that is not verified, and one that is not here, have no pages.
- Nothing is told that a message to the domain would not find out: no account is looked at.
- Who asks is not known, so that asking must cost little: what was found is remembered for a while,
  and few look-ups run at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from contextlib import suppress
from xml.sax.saxutils import escape

from posthorn.model.client_settings import client_servers
from posthorn.model.dns_records import Presence
from posthorn.ports.administration import Administration
from posthorn.ports.errors import NotFound
from posthorn.wire.address import AddressError, canonical_domain, display_domain, parse_address
from posthorn.wire.mta_sts import Mode, policy_text
from posthorn_api.dns.apple_profile import apple_profile

REMEMBER_SECONDS = 60.0
"""How long a domain is taken for ours after it was looked up."""
FORGET_SECONDS = 5.0
"""How long one is not, after it was not found."""
_REMEMBERED = 10_000
_LOOK_UPS_AT_ONCE = 2

_POLICY_HOST = "mta-sts."
_SETTINGS_HOSTS = ("autoconfig.", "autodiscover.")
_XML = '<?xml version="1.0" encoding="utf-8"?>\n'
_OUTLOOK = "http://schemas.microsoft.com/exchange/autodiscover"


class PublicPages:
    """Gives the pages; None where there is none. Raises Unavailable."""

    def __init__(self, administration: Administration, presence: Presence) -> None:
        self._administration = administration
        self._presence = presence
        self._room = asyncio.Semaphore(_LOOK_UPS_AT_ONCE)
        self._known: OrderedDict[str, tuple[float, bool]] = OrderedDict()

    async def policy(self, host: str) -> str | None:
        """Return the MTA-STS policy that is asked for at a host ``mta-sts.<domain>``."""
        domain = _below(host, _POLICY_HOST)
        if self._presence.mta_sts is Mode.NONE or domain is None or not await self._is_ours(domain):
            return None
        return policy_text(self._presence.policy)

    async def client_config(self, host: str, address: str | None) -> str | None:
        """Return the settings as Thunderbird reads them, for the domain of an address or of a
        host ``autoconfig.<domain>``."""
        domain = _domain_of(address) if address else _below(host, *_SETTINGS_HOSTS)
        if domain is None or not await self._is_ours(domain):
            return None
        name, lines = escape(display_domain(domain)), []
        for server in client_servers(self._presence):
            tag = "outgoingServer" if server.protocol == "smtp" else "incomingServer"
            lines += [
                f'    <{tag} type="{server.protocol}">',
                f"      <hostname>{server.host}</hostname>",
                f"      <port>{server.port}</port>",
                f"      <socketType>{'SSL' if server.implicit_tls else 'STARTTLS'}</socketType>",
                "      <authentication>password-cleartext</authentication>",
                "      <username>%EMAILADDRESS%</username>",
                f"    </{tag}>",
            ]
        return _XML + "\n".join(
            [
                '<clientConfig version="1.1">',
                f'  <emailProvider id="{domain}">',
                f"    <domain>{domain}</domain>",
                f"    <displayName>{name}</displayName>",
                f"    <displayShortName>{name}</displayShortName>",
                *lines,
                "  </emailProvider>",
                "</clientConfig>\n",
            ]
        )

    async def autodiscover(self, address: str) -> str | None:
        """Return the settings as Outlook reads them, for the domain of an address."""
        domain = _domain_of(address)
        if domain is None or not await self._is_ours(domain):
            return None
        lines = []
        for server in client_servers(self._presence):
            lines += [
                "      <Protocol>",
                f"        <Type>{server.protocol.upper()}</Type>",
                f"        <Server>{server.host}</Server>",
                f"        <Port>{server.port}</Port>",
                f"        <LoginName>{escape(address)}</LoginName>",
                f"        <SSL>{'on' if server.implicit_tls else 'off'}</SSL>",
                f"        <Encryption>{'SSL' if server.implicit_tls else 'TLS'}</Encryption>",
                "        <SPA>off</SPA>",
                "        <AuthRequired>on</AuthRequired>",
                "      </Protocol>",
            ]
        return _XML + "\n".join(
            [
                f'<Autodiscover xmlns="{_OUTLOOK}/responseschema/2006">',
                f'  <Response xmlns="{_OUTLOOK}/outlook/responseschema/2006a">',
                "    <Account>",
                "      <AccountType>email</AccountType>",
                "      <Action>settings</Action>",
                *lines,
                "    </Account>",
                "  </Response>",
                "</Autodiscover>\n",
            ]
        )

    async def apple_profile(self, address: str) -> bytes | None:
        """Return the settings as Mail on iOS and macOS reads them, for an address."""
        domain = _domain_of(address)
        if domain is None or not await self._is_ours(domain):
            return None
        return apple_profile(domain, address, client_servers(self._presence))

    async def _is_ours(self, domain: str) -> bool:
        until, known = self._known.get(domain, (0.0, False))
        if until > time.monotonic():
            return known
        async with self._room:
            # another may have looked meanwhile
            until, known = self._known.get(domain, (0.0, False))
            if until > time.monotonic():
                return known
            known = False
            with suppress(NotFound):
                known = (await self._administration.domain(None, domain)).verified_at is not None
        self._known[domain] = (
            time.monotonic() + (REMEMBER_SECONDS if known else FORGET_SECONDS),
            known,
        )
        self._known.move_to_end(domain)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return known


def _below(host: str, *labels: str) -> str | None:
    """Return the domain of a Host field that begins with one of the labels."""
    name = host.partition(":")[0].lower()
    for label in labels:
        if name.startswith(label):
            with suppress(AddressError):
                return canonical_domain(name.removeprefix(label))
    return None


def _domain_of(address: str) -> str | None:
    try:
        return parse_address(address).domain
    except AddressError:
        return None
