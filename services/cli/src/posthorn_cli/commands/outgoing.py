"""`posthorn queue`, `posthorn route`, `posthorn suppression` and `posthorn dead-letter`."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, cast

import typer

from posthorn_cli.client.types import MatchedView, QueueSelection, RouteSetting, SuppressionCreation
from posthorn_cli.commands.tenant import deleted
from posthorn_cli.faults import usage
from posthorn_cli.output import Column, size
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, Yes, command, group
from posthorn_cli.values import given, seconds_of, secret

queue = group(
    "The outbound queue: a line for each recipient elsewhere.\n\n"
    "Actions take ids from the list, or filters for all that match, or --all.\n\n"
    "Example: `posthorn queue retry --domain example.org`"
)
routes = group(
    "Routes: which server takes the mail for a domain, in place of the one that its DNS names.\n\n"
    "Example: `posthorn route set example.org --host relay.example.net --tls verified`"
)
suppressions = group(
    "Suppressed addresses, which get no mail from here.\n\nExample: `posthorn suppression list --domain example.org`"
)
dead = group(
    "Dead letters: accepted, and impossible to deliver. Nothing leaves this list by itself.\n\nExample: `posthorn dead-letter list`"
)


class State(StrEnum):
    """States of a recipient."""

    QUEUED = "queued"
    SENDING = "sending"
    DEFERRED = "deferred"
    HELD = "held"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    CANCELLED = "cancelled"


class Tls(StrEnum):
    """How a route is protected."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    VERIFIED = "verified"
    IMPLICIT = "implicit"


OfDomain = Annotated[str | None, typer.Option("--domain", help="Domain of the recipient.")]
OfState = Annotated[State | None, typer.Option("--state", help="Only in this state.")]
Sender = Annotated[str | None, typer.Option(help="Where bounces go; `<>` for notices of ours.")]
Recipient = Annotated[str | None, typer.Option(help="Only this address.")]
OfMessage = Annotated[str | None, typer.Option("--message", metavar="ID", help="Only this message.")]
Older = Annotated[str | None, typer.Option(metavar="SPAN", help="In the queue for longer, such as 6h.")]
Younger = Annotated[str | None, typer.Option(metavar="SPAN", help="In the queue for less.")]
OfTenant = Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Only what is this tenant's.")]
Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Numbers from the list.")]
Everything = Annotated[bool, typer.Option("--all", help="Everything in the queue.")]
Destination = Annotated[str, typer.Argument(help="A domain name, or `*` for all that have none of their own.")]
Sequence = Annotated[int, typer.Argument(metavar="NUMBER", help="The letter's number, from the list.")]

COLUMNS = [
    Column("id"),
    Column("state"),
    Column("sender"),
    Column("recipient"),
    Column("attempts"),
    Column("next_attempt_at", "next attempt"),
    Column("last_reply", "last reply"),
    Column("next_hop_closed_until", "next hop closed until"),
    Column("next_hop_reply", "why"),
    Column("message"),
]
ROUTE_COLUMNS = [
    Column("domain"),
    Column("host"),
    Column("port"),
    Column("tls"),
    Column("username"),
    Column("connections"),
    Column("messages_per_minute", "a minute"),
]
SUPPRESSION_COLUMNS = [Column("address"), Column("source"), Column("reason"), Column("created_at")]
DEAD_COLUMNS = [
    Column("sequence", "number"),
    Column("message_id", "message"),
    Column("parked_at"),
    Column("size", show=size),
    Column("reason"),
]


@command(queue, "list")
def list_queue(
    session: Session,
    *,
    domain: OfDomain = None,
    state: OfState = None,
    sender: Sender = None,
    recipient: Recipient = None,
    message: OfMessage = None,
    older_than: Older = None,
    younger_than: Younger = None,
    tenant: OfTenant = None,
    limit: Limit = DEFAULT_LIMIT,
    whole: All = False,
) -> None:
    """Search the queue, newest first. Those that have come to their end are in it for some days.

    Example: `posthorn queue list --state deferred --domain example.org`
    """
    filters = _filters(domain, state, sender, recipient, message, older_than, younger_than, tenant)
    session.list(session.api.list_queue, COLUMNS, limit, whole, **filters)


@command(queue, "show")
def show_queued(
    session: Session, number: Annotated[int, typer.Argument(metavar="ID", help="Number from the list.")]
) -> None:
    """Show all of one recipient.

    Example: `posthorn queue show 4711`
    """
    session.output.item(session.api.get_queued(number), [Column("size", show=size)])


@command(queue, "retry")
def retry(
    session: Session,
    ids: Ids = None,
    *,
    domain: OfDomain = None,
    state: OfState = None,
    sender: Sender = None,
    recipient: Recipient = None,
    message: OfMessage = None,
    older_than: Older = None,
    younger_than: Younger = None,
    tenant: OfTenant = None,
    everything: Everything = False,
) -> None:
    """Try again now what is queued or deferred.

    Example: `posthorn queue retry 4711 4712`, or `posthorn queue retry --domain example.org`
    """
    filters = _filters(domain, state, sender, recipient, message, older_than, younger_than, tenant)
    _act(session, "retry", ids, filters, everything)


@command(queue, "hold")
def hold(
    session: Session,
    ids: Ids = None,
    *,
    domain: OfDomain = None,
    state: OfState = None,
    sender: Sender = None,
    recipient: Recipient = None,
    message: OfMessage = None,
    older_than: Older = None,
    younger_than: Younger = None,
    tenant: OfTenant = None,
    everything: Everything = False,
) -> None:
    """Hold back what is queued or deferred, until it is released.

    Example: `posthorn queue hold --sender alice@example.test`
    """
    filters = _filters(domain, state, sender, recipient, message, older_than, younger_than, tenant)
    _act(session, "hold", ids, filters, everything)


@command(queue, "release")
def release(
    session: Session,
    ids: Ids = None,
    *,
    domain: OfDomain = None,
    state: OfState = None,
    sender: Sender = None,
    recipient: Recipient = None,
    message: OfMessage = None,
    older_than: Older = None,
    younger_than: Younger = None,
    tenant: OfTenant = None,
    everything: Everything = False,
) -> None:
    """Let go what is held.

    Example: `posthorn queue release --all`
    """
    filters = _filters(domain, state, sender, recipient, message, older_than, younger_than, tenant)
    _act(session, "release", ids, filters, everything)


@command(queue, "cancel")
def cancel(
    session: Session,
    ids: Ids = None,
    *,
    domain: OfDomain = None,
    state: OfState = None,
    sender: Sender = None,
    recipient: Recipient = None,
    message: OfMessage = None,
    older_than: Older = None,
    younger_than: Younger = None,
    tenant: OfTenant = None,
    everything: Everything = False,
    yes: Yes = False,
) -> None:
    """Send it no more. Nobody is told.

    Example: `posthorn queue cancel --message 0198c1d2-…`
    """
    filters = _filters(domain, state, sender, recipient, message, older_than, younger_than, tenant)
    _check_choice(ids, filters, everything)
    what = f"{len(ids)} recipients" if ids else "all recipients that match" if filters else "everything in the queue"
    session.ask(f"Cancel {what}?", yes)
    _act(session, "cancel", ids, filters, everything)


def _filters(
    domain: str | None,
    state: State | None,
    sender: str | None,
    recipient: str | None,
    message: str | None,
    older_than: str | None,
    younger_than: str | None,
    tenant: str | None,
) -> dict[str, Any]:
    return given(
        domain=domain,
        state=state and state.value,
        sender=sender,
        recipient=recipient,
        message=message,
        older_than=None if older_than is None else seconds_of(older_than),
        younger_than=None if younger_than is None else seconds_of(younger_than),
        tenant=tenant,
    )


def _check_choice(ids: list[int] | None, filters: dict[str, Any], everything: bool) -> None:
    if bool(ids) + bool(filters) + everything > 1:
        raise usage("name ids, or filters, or --all: one of them")
    if not ids and not filters and not everything:
        raise usage("name ids from `posthorn queue list`, or filters, or --all")


def _act(session: Session, action: str, ids: list[int] | None, filters: dict[str, Any], everything: bool) -> None:
    _check_choice(ids, filters, everything)
    api = session.api
    if ids:
        one: dict[str, Callable[[int], object]] = {
            "retry": api.retry_queued,
            "hold": api.hold_queued,
            "release": api.release_queued,
            "cancel": api.cancel_queued,
        }
        for number in ids:
            one[action](number)
        matched = len(ids)
    else:
        many: dict[str, Callable[[QueueSelection], MatchedView]] = {
            "retry": api.retry_all_queued,
            "hold": api.hold_all_queued,
            "release": api.release_all_queued,
            "cancel": api.cancel_all_queued,
        }
        selection = cast("QueueSelection", filters or {"all": True})
        found = many[action](selection)
        matched = found["matched"]
        if found["more"]:
            session.output.note("there are more that match: do it again for the rest")
    session.output.done(f"{action}: {matched} recipients", {"action": action, "matched": matched})


@command(routes, "list")
def list_routes(session: Session, *, limit: Limit = DEFAULT_LIMIT, whole: All = False) -> None:
    """List routes by domain.

    Example: `posthorn route list`
    """
    session.list(session.api.list_routes, ROUTE_COLUMNS, limit, whole)


@command(routes, "show")
def show_route(session: Session, domain: Destination) -> None:
    """Show a route, without its password.

    Example: `posthorn route show example.org`
    """
    session.output.item(session.api.get_route(domain), ROUTE_COLUMNS)


@command(routes, "set")
def set_route(
    session: Session,
    domain: Destination,
    *,
    host: Annotated[str | None, typer.Option(help="The server that takes it; without it the domain's MX.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Without it 25, or 465 with implicit TLS.")] = None,
    tls: Annotated[
        Tls | None,
        typer.Option(
            help="none; opportunistic: when offered; required: STARTTLS; verified: with a valid certificate;"
            " implicit: TLS from the first octet."
        ),
    ] = None,
    username: Annotated[str | None, typer.Option(help="Log in with this name; the password is asked for.")] = None,
    password_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Read the password from a file; `-`: from stdin.")
    ] = None,
    keep_password: Annotated[bool, typer.Option("--keep-password", help="The one that is set already stays.")] = False,
    connections: Annotated[int | None, typer.Option(min=1, help="Connections at a time at most.")] = None,
    messages_per_minute: Annotated[int | None, typer.Option(min=1, help="Messages in a minute at most.")] = None,
) -> None:
    """Set a route, all of it: what is not named is as if it had never been set.

    Example: `posthorn route set example.org --host relay.example.net --port 587 --tls verified --username us`
    """
    body = given(
        host=host,
        port=port,
        tls=tls and tls.value,
        username=username,
        connections=connections,
        messages_per_minute=messages_per_minute,
    )
    if password_file is not None and username is None:
        raise usage("a password goes with --username")
    if username is not None and not keep_password:
        body["password"] = secret(session.output, "password", password_file)
    session.output.item(session.api.set_route(domain, cast("RouteSetting", body)), ROUTE_COLUMNS)


@command(routes, "delete")
def delete_route(session: Session, domain: Destination, *, yes: Yes = False) -> None:
    """Delete a route: mail for the domain goes to its MX again, or by the route of `*`.

    Example: `posthorn route delete example.org`
    """
    found = session.api.get_route(domain)
    session.ask(f"Delete the route of {found['domain']}?", yes)
    session.api.delete_route(domain)
    deleted(session, "route", found["domain"])


@command(suppressions, "list")
def list_suppressions(
    session: Session,
    *,
    domain: Annotated[str | None, typer.Option(help="Only addresses of this domain.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    whole: All = False,
) -> None:
    """List suppressed addresses.

    Example: `posthorn suppression list`
    """
    session.list(session.api.list_suppressions, SUPPRESSION_COLUMNS, limit, whole, **given(domain=domain))


@command(suppressions, "create")
def suppress(
    session: Session,
    address: Annotated[str, typer.Argument(help="The address that is to get no more mail.")],
    *,
    reason: Annotated[str | None, typer.Option(help="Why.")] = None,
) -> None:
    """Suppress an address: what is queued for it bounces.

    Example: `posthorn suppression create old@example.org --reason "asked by phone"`
    """
    body = cast("SuppressionCreation", {"address": address} | given(reason=reason))
    session.output.item(session.api.suppress(body), SUPPRESSION_COLUMNS)


@command(suppressions, "delete")
def unsuppress(session: Session, address: Annotated[str, typer.Argument(help="The address.")]) -> None:
    """Take an address off the list: it gets mail again.

    Example: `posthorn suppression delete old@example.org`
    """
    session.api.unsuppress(address)
    deleted(session, "suppression of", address)


@command(dead, "list")
def list_dead(session: Session, *, limit: Limit = DEFAULT_LIMIT, whole: All = False) -> None:
    """List dead letters, oldest first, each with its reason.

    Example: `posthorn dead-letter list`
    """
    session.list(session.api.list_dead_letters, DEAD_COLUMNS, limit, whole)


@command(dead, "retry")
def retry_dead(session: Session, sequence: Sequence) -> None:
    """Try to deliver a dead letter again.

    Example: `posthorn dead-letter retry 3`
    """
    retried = session.api.retry_dead_letter(sequence)
    session.output.done(f"dead letter {sequence} is on its way again", dict(retried))


@command(dead, "delete")
def discard_dead(session: Session, sequence: Sequence, *, yes: Yes = False) -> None:
    """Discard a dead letter for good.

    Example: `posthorn dead-letter delete 3`
    """
    session.ask(f"Discard the dead letter {sequence} for good?", yes)
    session.api.discard_dead_letter(sequence)
    deleted(session, "dead letter", str(sequence))
