"""`posthorn suppression`."""

from __future__ import annotations

from typing import Annotated, Any, cast

import typer

from posthorn_cli.client.types import SuppressionCreation
from posthorn_cli.options import list_options
from posthorn_cli.output import Column
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, command, group
from posthorn_cli.values import given

suppressions = group(
    "Suppressed addresses, which get no mail from here.\n\nExample: `posthorn suppression list --domain example.org`"
)
_SORTED = {
    name: option
    for name, option in list_options("address", "created", tenant=False).items()
    if name in ("sort", "total")
}
COLUMNS = [Column("address"), Column("source"), Column("reason", prose=True), Column("created_at")]


@command(suppressions, "list", _SORTED)
def list_suppressions(
    session: Session,
    /,
    part: Annotated[
        str | None, typer.Argument(metavar="[TEXT]", help="Part of the address or of the reason.")
    ] = None,
    *,
    domain: Annotated[str | None, typer.Option(help="Only addresses of this domain.")] = None,
    tenant: Annotated[
        str | None, typer.Option(metavar="NAME", help="The list of this tenant.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    whole: All = False,
    **asked: Any,
) -> None:
    """List suppressed addresses.

    Example: `posthorn suppression list complained --tenant acme`
    """
    session.list(
        session.api.list_suppressions,
        COLUMNS,
        limit,
        whole,
        **given(domain=domain, q=part, tenant=tenant),
        **asked,
    )


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
    session.output.item(session.api.suppress(body), COLUMNS)


@command(suppressions, "delete")
def unsuppress(
    session: Session, address: Annotated[str, typer.Argument(help="The address.")]
) -> None:
    """Take an address off the list: it gets mail again.

    Example: `posthorn suppression delete old@example.org`
    """
    session.api.unsuppress(address)
    session.output.deleted("suppression of", address)
