"""`posthorn route`."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, cast

import typer

from posthorn_cli.client.types import RouteProbeRequest, RouteProbeView, RouteSetting
from posthorn_cli.faults import CommandError, usage
from posthorn_cli.options import list_options
from posthorn_cli.output import MANAGED_BY, Column, moment
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, Yes, command, group
from posthorn_cli.values import given, secret

routes = group(
    "Routes: which server takes the mail for a domain, in place of the one that its DNS names.\n\n"
    "Example: `posthorn route set example.org --host relay.example.net --tls verified`"
)


class Tls(StrEnum):
    """How a route is protected."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    VERIFIED = "verified"
    IMPLICIT = "implicit"


Destination = Annotated[
    str, typer.Argument(help="A domain name, or `*` for all that have none of their own.")
]
COLUMNS = [
    Column("domain"),
    Column("host"),
    Column("port"),
    Column("tls"),
    Column("username"),
    Column("connections"),
    Column("messages_per_minute", "a minute"),
    Column("last_hour.delivered", "delivered (1 h)"),
    Column("last_hour.deferred", "deferred (1 h)"),
    Column("last_hour.refused", "refused (1 h)"),
    MANAGED_BY,
]


@command(routes, "list", list_options("domain", tenant=False))
def list_routes(
    session: Session, /, *, limit: Limit = DEFAULT_LIMIT, whole: All = False, **asked: Any
) -> None:
    """List routes by domain, with the attempts of the last hour by their results.

    Example: `posthorn route list`
    """
    session.list(session.api.list_routes, COLUMNS, limit, whole, **asked)


@command(routes, "show")
def show_route(session: Session, domain: Destination) -> None:
    """Show a route, without its password.

    Example: `posthorn route show example.org`
    """
    session.output.item(session.api.get_route(domain), COLUMNS)


@command(routes, "set")
def set_route(
    session: Session,
    domain: Destination,
    *,
    host: Annotated[
        str | None, typer.Option(help="The server that takes it; without it the domain's MX.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Without it 25, or 465 with implicit TLS.")
    ] = None,
    tls: Annotated[
        Tls | None,
        typer.Option(
            help="none; opportunistic: when offered; required: STARTTLS; verified: with a valid certificate;"
            " implicit: TLS from the first byte."
        ),
    ] = None,
    username: Annotated[
        str | None, typer.Option(help="Log in with this name; the password is asked for.")
    ] = None,
    password_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Read the password from a file; `-`: from stdin."),
    ] = None,
    keep_password: Annotated[
        bool, typer.Option("--keep-password", help="Keep the password that is set.")
    ] = False,
    connections: Annotated[
        int | None, typer.Option(min=1, help="Connections at a time at most.")
    ] = None,
    messages_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Messages in a minute at most.")
    ] = None,
) -> None:
    """Set a route, all of it: what is not named is as if it had never been set.

    Example: `posthorn route set example.org --host relay.example.net --port 587 --tls verified
    --username us`
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
    session.output.item(session.api.set_route(domain, cast("RouteSetting", body)), COLUMNS)


@command(routes, "probe")
def probe_route(
    session: Session,
    domain: Destination,
    *,
    recipient: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Name this address in RCPT, of the route's domain."),
    ] = None,
) -> None:
    """Connect as the relay would, without sending a message, and show each reply.

    It fails unless the host would take mail now.

    Example: `posthorn route probe example.org --recipient postmaster@example.org`
    """
    found = session.api.probe_route(domain, cast("RouteProbeRequest", given(recipient=recipient)))
    if session.output.as_json:
        session.output.json(found)
    else:
        for line in _lines(found):
            session.output.line(line)
    if found["failure"] is not None:
        raise CommandError(f"no mail is sent by this route now: {found['failure']['reply']}")


def _lines(found: RouteProbeView) -> Iterator[str]:
    """Write a probe for people: a block for each connection."""
    for connection in found["connections"]:
        yield f"{connection['host']} ({connection['address']}) port {connection['port']}"
        for step in connection["steps"]:
            if step["command"]:
                yield f"  > {step['command']}"
            first, *others = step["reply"].split("\n")
            yield f"  < {first}  [{step['seconds'] * 1000:.0f} ms]"
            yield from (f"    {line}" for line in others)
            if step["meaning"] and (step["code"] or 0) >= 400:
                yield f"    {step['meaning']}"
        if (tls := connection["tls"]) is not None:
            yield f"  TLS: {tls['version']} {tls['cipher']}, {tls['verdict']}"
            if tls["expires_at"] is not None:
                names = ", ".join(tls["names"]) or "no name"
                yield f"  certificate: for {names}, until {moment(tls['expires_at'])}"
            if tls["problem"] is not None:
                yield f"  certificate: {tls['problem']}"
    yield f"outcome: {found['outcome']}"


@command(routes, "delete")
def delete_route(session: Session, domain: Destination, *, yes: Yes = False) -> None:
    """Delete a route: mail for the domain goes to its MX again, or by the route of `*`.

    Example: `posthorn route delete example.org`
    """
    found = session.api.get_route(domain)
    session.ask(f"Delete the route of {found['domain']}?", yes)
    session.api.delete_route(domain)
    session.output.deleted("route", found["domain"])
