"""What the API decides about messages out: the queue, routes, suppressions, and what a trace may
show to whom."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from uuid import UUID

import structlog

from posthorn.model.events import (
    CANCELLED,
    HELD,
    RELEASED,
    RETRIED,
    Event,
)
from posthorn.model.ip_addresses import is_this_machine
from posthorn.ports.api_keys import ApiKey
from posthorn.ports.changes import Versions
from posthorn.ports.errors import FieldError, NotFound, Unavailable, ValidationFailed
from posthorn.ports.events import Trace
from posthorn.ports.idempotency import Receipt
from posthorn.ports.listing import Listed, ListQuery
from posthorn.ports.queue import Route
from posthorn.ports.queue_administration import (
    QueueAdministration,
    QueueFilter,
    QueueGroup,
    QueueItem,
)
from posthorn.ports.routes import Routes
from posthorn.ports.secrets import Encrypter
from posthorn.ports.sending import Suppression, Suppressions
from posthorn.wire.address import AddressError
from posthorn.wire.foreign_address import parse_sender, written_form
from posthorn_api.directory.fields import domain_in, foreign_domain_in, foreign_in
from posthorn_api.pending import Pending, PendingEvents
from posthorn_api.queue.trace_link import trace_link
from posthorn_api.queue.trace_sight import domains_in, is_of, visible_to

log = structlog.get_logger()

ANY = "*"
"""The domain of a route that stands for all without one of their own."""
_KINDS = {"retry": RETRIED, "hold": HELD, "release": RELEASED, "cancel": CANCELLED}
_WAKING = frozenset({"retry", "release"})
_AT_ONCE = 10_000
_ROWS = 1000
_MOST = 100_000
_COUNTED = 1_000_000


@dataclass(frozen=True, slots=True)
class Matched:
    """The result of an action on many recipients."""

    number: int
    more: bool
    """Whether the bound of one request was reached, so that others may be left."""
    passed_over: int = 0
    """Recipients that were meant but are in another state, not there, or just being changed."""
    left: int = 0
    """Recipients that are left for another request."""


class QueueService:
    """Messages out, as an administrator sees them. Every method takes the caller's key and sees
    what its tenant sees.

    Raises ValidationFailed, NotFound and Conflict for the caller's faults, Unavailable for ours.
    """

    def __init__(
        self,
        queue: QueueAdministration,
        routes: Routes,
        suppressions: Suppressions,
        encrypter: Encrypter,
        trace: Pending[Trace],
        hints: PendingEvents,
        trace_url: str = "",
    ) -> None:
        """``trace_url``: of a trace in a viewer, with ``{trace_id}``; empty: there is none."""
        self._trace_url = trace_url
        self._queue = queue
        self._routes = routes
        self._suppressions = suppressions
        self._encrypter = encrypter
        self._trace = trace
        self._hints = hints

    async def items(
        self, caller: ApiKey, which: QueueFilter, asked: ListQuery
    ) -> Listed[QueueItem]:
        """List the queue, newest first."""
        return await self._queue.listed(caller.tenant, _canonical(which), asked)

    async def item(self, caller: ApiKey, number: int) -> QueueItem:
        """Return one recipient."""
        return await self._queue.item(caller.tenant, number)

    async def act(self, caller: ApiKey, action: str, number: int) -> QueueItem:
        """``retry``, ``hold``, ``release`` or ``cancel`` one recipient."""
        item = await self._queue.act(caller.tenant, action, number)
        self._tell(caller, action, [(item.message, item.recipient, item.original)])
        return item

    async def act_on_all(self, caller: ApiKey, action: str, which: QueueFilter) -> Matched:
        """The same for all that match, ten thousand in a transaction, for as long as more is
        found."""
        which = _canonical(which)
        before = await self._queue.permitted(caller.tenant, action, which, _COUNTED)
        done = await self._act_on_all(caller, action, which)
        meant = before.matching if which.ids is None else len(set(which.ids))
        left = max(before.permitted - done.number, 0) if done.more else 0
        return replace(done, passed_over=max(meant - done.number - left, 0), left=left)

    async def summary(
        self, caller: ApiKey, which: QueueFilter, offset: int, limit: int, part: str | None
    ) -> Sequence[QueueGroup]:
        """Return what waits, by destination, state and class of reply, the largest group first."""
        return await self._queue.summary(caller.tenant, _canonical(which), offset, limit, part)

    async def _act_on_all(self, caller: ApiKey, action: str, which: QueueFilter) -> Matched:
        total, newest = 0, None
        while total < _MOST:
            done = await self._queue.act_on_all(caller.tenant, action, which, _AT_ONCE)
            if done and done[0][0] == newest:
                # what was tried again matches still, and hides the rest
                return Matched(total, more=True)
            total += len(done)
            self._tell(caller, action, (each[1:] for each in done))
            if not done and action in _WAKING:
                self._hints.notify()  # nothing was made due, but a next hop may have been opened
            if len(done) < _AT_ONCE:
                return Matched(total, more=False)
            newest = done[0][0]
        return Matched(total, more=True)

    async def routes(self, asked: ListQuery) -> Listed[Route]:
        """List routes by domain."""
        return await self._routes.all(asked)

    async def route(self, domain: str) -> Route:
        """Return one."""
        return await self._routes.get(route_domain_in(domain))

    async def create_route(
        self, route: Route, password: str | None, receipt: Receipt[Route] | None = None
    ) -> Route:
        """Make a route. Raises Conflict when its domain has one."""
        route = _fit(route, has_password=password is not None)
        made = await self._routes.create(self._encrypted(route, password), receipt)
        await self._try_again(made.domain)
        return made

    async def put_route(
        self, route: Route, password: str | None, expected: Versions = None
    ) -> tuple[Route, bool]:
        """Set the route of a domain; whether it is new. Without a password the one that is there
        stays, as long as host and username are the same: nobody can read it to give it again."""
        route = replace(route, domain=route_domain_in(route.domain), host=_host(route.host))
        if password is None and route.username is not None:
            route = replace(route, password=await self._kept_password(route))
        route = _fit(route, has_password=password is not None or route.password is not None)
        made, is_new = await self._routes.put(self._encrypted(route, password), expected)
        await self._try_again(made.domain)
        return made, is_new

    async def delete_route(self, domain: str, expected: Versions = None) -> None:
        """Remove a route."""
        await self._routes.delete(domain := route_domain_in(domain), expected)
        await self._try_again(domain)

    async def suppress(self, caller: ApiKey, address: str, reason: str) -> tuple[Suppression, bool]:
        """Put an address on the list; whether it is new there."""
        return await self._suppressions.add(caller.tenant, foreign_in("address", address), reason)

    async def suppressions(
        self, caller: ApiKey, asked: ListQuery, domain: str | None = None
    ) -> Listed[Suppression]:
        """List suppressed addresses, of one domain or of all."""
        name = None if domain is None else foreign_domain_in("domain", domain)
        return await self._suppressions.items(caller.tenant, asked, name)

    async def unsuppress(self, caller: ApiKey, address: str) -> None:
        """Take an address off."""
        await self._suppressions.remove(caller.tenant, foreign_in("address", address))

    async def trace(self, caller: ApiKey, message: UUID) -> Sequence[Event]:
        """Return what happened to a message. A tenant sees that of messages it sent, but not
        where others' aliases lead; of others' messages it sees what happened to the copies for its
        own domains and to its aliases' targets. That mail was read, filed or withheld is for the
        reader's tenant alone."""
        trace = self._trace.get()
        rows = await self._queue.items(caller.tenant, QueueFilter(message=message), None, _ROWS)
        events = await trace.events_of(message)
        if caller.tenant is not None:
            own = {(row.recipient, row.original) for row in rows}
            began = min((event.at for event in events), default=0.0)
            named = domains_in(events)
            domains = await self._queue.own_domains(caller.tenant, named, began)
            is_sender = is_of(events, caller.tenant)
            events = visible_to(caller.tenant, events, own, is_sender=is_sender, domains=domains)
        if not rows and not events:
            raise NotFound(f"there is no trace of a message {message}")
        return events

    def trace_link(self, caller: ApiKey, message: UUID) -> str | None:
        """Return the URL of a message's spans; see ``trace_link``."""
        return trace_link(self._trace_url, caller, message)

    async def _try_again(self, domain: str) -> None:
        """Have what waits for the domain try its new way at once."""
        try:
            await self._queue.route_changed(domain, _AT_ONCE)
        except (
            Unavailable
        ) as fault:  # the route is set all the same, and what waits takes it in its own time
            log.warning("what waits for a route is not hastened", domain=domain, fault=fault)
        self._hints.notify()

    async def _kept_password(self, route: Route) -> bytes | None:
        try:
            present = await self._routes.get(route.domain)
        except NotFound:
            return None
        is_same = (present.host, present.username) == (route.host, route.username)
        return present.password if is_same else None

    def _encrypted(self, route: Route, password: str | None) -> Route:
        if password is None:
            return route
        return replace(
            route, password=self._encrypter.encrypt(password.encode(), f"route:{route.domain}")
        )

    def _tell(self, caller: ApiKey, action: str, done: Iterable[tuple[UUID, str, str]]) -> None:
        now, events = time.time(), []
        for message, recipient, original in done:
            log.info("queue", action=action, message=str(message), recipient=recipient)
            detail = {"recipient": recipient, "by": f"key:{caller.name}"}
            if original:
                detail["original"] = original
            events.append(Event(message, now, _KINDS[action], detail))
        self._hints.record(*events)
        if events and action in _WAKING:
            self._hints.notify()


def _canonical(which: QueueFilter) -> QueueFilter:
    """Bring what is searched for into the form that is stored."""
    return replace(
        which,
        domain=None if which.domain is None else foreign_domain_in("domain", which.domain),
        sender=None if which.sender is None else _sender(which.sender),
        recipient=None if which.recipient is None else foreign_in("recipient", which.recipient),
    )


def _sender(text: str) -> str:
    """A reverse-path is kept as it was written, but for its domain; empty or ``<>`` is the null
    one."""
    if text in ("", "<>"):
        return ""
    try:
        return written_form(text, parse_sender(text))
    except AddressError as error:
        raise ValidationFailed(FieldError("sender", str(error))) from None


def route_domain_in(domain: str) -> str:
    """Return what a route is for: a domain of others as ``foreign_domain`` reads it, or ``*``."""
    return domain if domain == ANY else foreign_domain_in("domain", domain)


def _host(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        if "%" not in text:
            return str(ip_address(text))
    except ValueError:
        pass
    name = domain_in("host", text)
    if name.startswith("["):
        raise ValidationFailed(FieldError("host", "the host must be a name or an IP address"))
    return name


def _fit(route: Route, *, has_password: bool) -> Route:
    """Return the route in canonical form. Raises ValidationFailed, naming every field that makes
    no sense with the others."""
    route = replace(route, domain=route_domain_in(route.domain), host=_host(route.host))
    faults: list[FieldError] = []
    if route.host is None:
        named = (
            ("port", route.port),
            ("username", route.username),
            ("password", has_password or None),
        )
        faults += [FieldError(name, "needs a host") for name, value in named if value is not None]
        if route.tls == "implicit":
            faults.append(FieldError("tls", "implicit TLS needs a host: MX hosts do not offer it"))
    elif route.username is None and has_password:
        faults.append(FieldError("username", "a password needs a username"))
    elif route.username is not None and not has_password:
        faults.append(FieldError("password", "a username needs a password"))
    elif (
        route.username is not None
        and route.tls not in ("verified", "implicit")
        and not is_this_machine(route.host)
    ):
        faults.append(
            FieldError(
                "tls", "a password needs tls verified or implicit, or a loopback address as host"
            )
        )
    if faults:
        raise ValidationFailed(*faults)
    return route
