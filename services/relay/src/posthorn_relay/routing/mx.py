"""From a destination to the hosts to try in order (RFC 5321 §5.1).

Rules:

- A route with a host leads there and nowhere else. Without one the MX set is used, unless direct
  delivery is off.
- A failure is permanent only when an answer says so: no such domain (5.1.2), a null MX (5.1.10), an
  MX set that leads to ourselves (5.4.6) or only to unusable addresses (5.4.4). A lookup without an
  answer is transient.
- Where one of our names or addresses is in the MX set, it is removed with all that are no better
  (RFC 5321 §5.1).
- The TLS that a host must have is the strictest of what the route, MTA-STS and DANE require. DANE,
  where a host has it, replaces MTA-STS (RFC 8461 §2); a host whose TLSA records cannot be looked up
  is left out (RFC 7672 §2.1.2).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from prometheus_client import Counter

from posthorn.ports.queue import Route
from posthorn.ports.resolver import Exchanger, LookupFailed, NoSuchDomain, NullMx, Resolver, Tlsa
from posthorn.runtime.secret_box import DecryptionFailed, SecretBox
from posthorn.wire.mta_sts import Mode, Policy
from posthorn_relay.routing.addresses import HostAddresses
from posthorn_relay.routing.dane import dane_of
from posthorn_relay.routing.mta_sts import PolicyUnknown, StsPolicies
from posthorn_relay.settings import EgressSettings
from posthorn_relay.smtp.sts_failures import note_failure
from posthorn_relay.smtp.types import Failed, RemoteHost, StsRequirement, Tls, TlsResult

_MAX_HOSTS = 12
_MAX_ADDRESSES = 4  # of one host, so that others get their turn
_SYSTEM_SECONDS = 10.0

_ROUTE_TLS = {
    "none": Tls.NONE,
    "opportunistic": Tls.OPPORTUNISTIC,
    "required": Tls.REQUIRED,
    "verified": Tls.VERIFIED,
    "implicit": Tls.IMPLICIT,
}
_STRENGTH = {
    Tls.NONE: 0,
    Tls.OPPORTUNISTIC: 1,
    Tls.REQUIRED: 2,
    Tls.VERIFIED: 3,
    Tls.DANE: 4,
    Tls.IMPLICIT: 5,
}

_plans = Counter("posthorn_relay_plans_total", "Destinations looked up, by result", ["result"])

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Requirements:
    """What a destination requires of every host."""

    port: int
    tls: Tls
    login: tuple[str, str] | None
    policy: Policy | None
    dane: bool = True
    """TLSA records count."""


class MxPlanner:
    """Plans by route or MX. Without ``policies`` MTA-STS is not used; ``secret_box`` decrypts
    the passwords of routes."""

    def __init__(
        self,
        settings: EgressSettings,
        resolver: Resolver,
        policies: StsPolicies | None,
        secret_box: SecretBox,
    ) -> None:
        self._settings = settings
        self._resolver = resolver
        self._policies = policies
        self._secret_box = secret_box
        self._addresses = HostAddresses.from_settings(settings)
        self._own_names = frozenset(
            name.lower().removesuffix(".")
            for name in (settings.relay_hostname, *settings.relay_own_names)
        )

    async def plan(
        self, destination: str, route: Route | None, *, without_policies: bool = False
    ) -> Sequence[RemoteHost]:
        """Return at least one host and at most twelve; see the port. Raises Failed."""
        try:
            remotes = await self._plan(destination, route, without_policies)
        except Failed as failed:
            _plans.labels("permanent" if failed.permanent else "transient").inc()
            raise
        _plans.labels("found").inc()
        return remotes

    async def _plan(
        self, destination: str, route: Route | None, without_policies: bool
    ) -> list[RemoteHost]:
        tls = _ROUTE_TLS[route.tls] if route else Tls.OPPORTUNISTIC
        if route is not None and route.host:
            port = route.port or (465 if tls is Tls.IMPLICIT else 25)
            return await self._smarthost(
                route.host, _Requirements(port, tls, self._login(route), None)
            )
        if route is None and not self._settings.relay_direct:
            raise Failed(
                "connect",
                0,
                "4.4.4",
                f"there is no route for {destination}, and direct delivery is off here; add a route for it",
                permanent=False,
            )
        port = (route and route.port) or (465 if tls is Tls.IMPLICIT else self._settings.relay_port)
        login = self._login(route) if route else None
        if destination.startswith("["):
            return self._literal(destination, _Requirements(port, tls, login, None))
        exchangers = await self._exchangers(destination)
        policy = None if without_policies else await self._policy(destination)
        need = _Requirements(port, tls, login, policy, dane=not without_policies)
        return await self._direct(destination, exchangers, need)

    def _login(self, route: Route) -> tuple[str, str] | None:
        if not route.username or route.password is None:
            return None
        try:
            return route.username, self._secret_box.decrypt(
                route.password, f"route:{route.domain}"
            ).decode()
        except (DecryptionFailed, UnicodeDecodeError):
            log.error("password of a route cannot be opened", route=route.domain)
            raise Failed(
                "connect",
                0,
                "4.3.5",
                f"the password of the route {route.domain} cannot be opened here",
                permanent=False,
            ) from None

    async def _smarthost(self, host: str, need: _Requirements) -> list[RemoteHost]:
        """Return the addresses of a smart host: any address is allowed."""
        bare = host.removeprefix("[").removesuffix("]").removeprefix("IPv6:")
        try:
            addresses: Sequence[str] = [str(ipaddress.ip_address(bare))]
        except ValueError:
            bare = host.lower().removesuffix(".")
            addresses = self._addresses.in_order(await self._named(bare))
        if not addresses:
            raise _failed(f"the host {bare} of the route has no address", "4.4.4")
        return _remotes(bare, addresses, need.tls, (bare,), need)

    async def _named(self, host: str) -> Sequence[str]:
        """Look up a name that may be in the hosts file or local to this network, as a single
        label always is."""
        if "." not in host or host.endswith(".localhost"):
            return await _of_system(host)
        try:
            found, _ = await self._resolver.addresses(host)
        except LookupFailed as error:
            if system := await _of_system(host):
                return system
            raise _failed(str(error), "4.4.3") from None
        return found or await _of_system(host)

    def _literal(self, destination: str, need: _Requirements) -> list[RemoteHost]:
        """Return the host of an address literal (RFC 5321 §4.1.3)."""
        address = destination[1:-1].removeprefix("IPv6:")
        if not self._addresses.allowed([address]):
            raise _failed(f"mail is not sent to {destination} from here", "5.4.4", permanent=True)
        return _remotes(address, [address], need.tls, (address,), need)

    async def _exchangers(self, destination: str) -> list[Exchanger]:
        """Return the MX set without ourselves and what is no better."""
        try:
            found = await self._resolver.exchangers(destination)
        except NullMx:
            raise _failed(
                f"{destination} takes no mail (null MX)", "5.1.10", permanent=True
            ) from None
        except NoSuchDomain:
            raise _failed(
                f"the domain {destination} does not exist, or has no mail host",
                "5.1.2",
                permanent=True,
            ) from None
        except LookupFailed as error:
            raise _failed(str(error), "4.4.3") from None
        if not found:
            raise _failed(
                f"the MX records of {destination} name no usable host", "5.4.4", permanent=True
            )
        own = min((one.preference for one in found if one.host in self._own_names), default=None)
        return self._without_ourselves(destination, found, own)

    def _without_ourselves(
        self, destination: str, exchangers: Sequence[Exchanger], preference: int | None
    ) -> list[Exchanger]:
        kept = [one for one in exchangers if preference is None or one.preference < preference]
        if not kept:
            raise _failed(
                f"the best MX of {destination} is this mail server itself: a loop",
                "5.4.6",
                permanent=True,
            )
        return kept

    async def _policy(self, destination: str) -> Policy | None:
        if self._policies is None:
            return None
        try:
            return await self._policies.policy(destination)
        except PolicyUnknown as error:
            raise _failed(f"MTA-STS of {destination}: {error}", "4.7.5") from None

    async def _direct(
        self, destination: str, exchangers: list[Exchanger], need: _Requirements
    ) -> list[RemoteHost]:
        looked_up = await asyncio.gather(
            *(self._resolver.addresses(one.host) for one in exchangers[:_MAX_HOSTS]),
            return_exceptions=True,
        )
        hosts: list[tuple[Exchanger, Sequence[str], bool]] = []
        failure: LookupFailed | None = None
        own: int | None = None
        for one, result in zip(exchangers, looked_up, strict=False):
            if isinstance(result, LookupFailed):
                failure = failure or result
            elif isinstance(result, BaseException):
                raise result
            elif self._addresses.is_own(result[0]):
                own = one.preference
                break
            else:
                hosts.append((one, self._addresses.allowed(result[0]), result[1]))
        kept = self._without_ourselves(destination, exchangers, own)
        remotes: list[RemoteHost] = []
        refused = 0
        for exchanger, addresses, secure in hosts:
            if exchanger not in kept or not addresses or len(remotes) >= _MAX_HOSTS:
                continue
            try:
                given = await self._host(destination, exchanger, addresses, secure, need)
            except LookupFailed as error:
                failure = failure or error
                continue
            refused += not given
            remotes += given
        if remotes:
            return remotes[:_MAX_HOSTS]
        if refused and failure is None:
            raise _failed(f"no MX host of {destination} is named by its MTA-STS policy", "4.7.5")
        if failure is not None:
            raise _failed(str(failure), "4.4.3")
        # hosts beyond the first ones were not looked up
        raise _failed(
            f"no MX host of {destination} has an address that mail can be sent to",
            "5.4.4" if (is_all := len(exchangers) <= _MAX_HOSTS) else "4.4.4",
            permanent=is_all,
        )

    async def _host(
        self,
        destination: str,
        exchanger: Exchanger,
        addresses: Sequence[str],
        secure: bool,
        need: _Requirements,
    ) -> list[RemoteHost]:
        """Return the addresses of one MX host, none when MTA-STS forbids it. Raises LookupFailed
        if its TLSA lookup fails."""
        host, tls = exchanger.host, need.tls
        is_secure = need.dane and exchanger.secure and secure
        if self._settings.relay_dnssec and is_secure and tls is not Tls.IMPLICIT:
            dane = await dane_of(self._resolver, host, need.port)
            if dane is not None and dane.usable:
                # RFC 7672 §3.2.2: with a trust anchor the next-hop domain counts as well
                return _remotes(host, addresses, Tls.DANE, (host, destination), need, dane.usable)
            if dane is not None:
                tls = _stronger(tls, Tls.REQUIRED)
        if need.policy is None or need.policy.mode is Mode.NONE:
            return _remotes(host, addresses, tls, (host,), need)
        sts = StsRequirement(destination, need.policy.mode is Mode.ENFORCE)
        if not need.policy.allows(host):
            note_failure(sts, host, TlsResult.OTHER, "the policy does not name this MX host")
            return [] if sts.enforced else _remotes(host, addresses, tls, (host,), need)
        if sts.enforced:
            tls = _stronger(tls, Tls.VERIFIED)
        return _remotes(host, addresses, tls, (host,), need, sts=sts)


async def _of_system(host: str) -> Sequence[str]:
    """Return the addresses that the C library finds, by the hosts file and search domains; none
    on failure."""
    try:
        async with asyncio.timeout(_SYSTEM_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(
                host, None, type=socket.SOCK_STREAM
            )
    except (OSError, UnicodeError):  # TimeoutError is an OSError
        return ()
    return [str(entry[4][0]) for entry in found if "%" not in str(entry[4][0])]


def _stronger(one: Tls, other: Tls) -> Tls:
    return max(one, other, key=_STRENGTH.__getitem__)


def _remotes(
    host: str,
    addresses: Sequence[str],
    tls: Tls,
    names: tuple[str, ...],
    need: _Requirements,
    tlsa: tuple[Tlsa, ...] = (),
    sts: StsRequirement | None = None,
) -> list[RemoteHost]:
    return [
        RemoteHost(host, address, need.port, tls, names, tlsa, sts, need.login)
        for address in addresses[:_MAX_ADDRESSES]
    ]


def _failed(reply: str, status: str, *, permanent: bool = False) -> Failed:
    return Failed("dns", 0, status, reply, permanent)
