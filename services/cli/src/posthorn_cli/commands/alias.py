"""`posthorn alias`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from posthorn_cli.client.types import AliasView
from posthorn_cli.faults import CommandError, usage
from posthorn_cli.options import OfDomain, list_options
from posthorn_cli.output import MANAGED_BY, Column
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, Yes, command, group

aliases = group(
    "Aliases: addresses that lead to others.\n\nExample: `posthorn alias create team@example.org alice@example.org bob@example.org`"
)
Alias = Annotated[str, typer.Argument(help="The alias's address.")]
Targets = Annotated[
    list[str], typer.Argument(help="Accounts or aliases here, or addresses elsewhere.")
]
COLUMNS = [Column("address"), Column("targets"), Column("created_at"), MANAGED_BY]


@command(aliases, "list", list_options("address", "created"))
def list_aliases(
    session: Session,
    /,
    *,
    domain: OfDomain = None,
    target: Annotated[
        str | None, typer.Option(help="Only aliases with this address among their targets.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    whole: All = False,
    **asked: Any,
) -> None:
    """List aliases by address.

    Example: `posthorn alias list --target carol@example.org`
    """
    session.list(
        session.api.list_aliases, COLUMNS, limit, whole, domain=domain, target=target, **asked
    )


@command(aliases, "show")
def show_alias(session: Session, address: Alias) -> None:
    """Show where an alias leads.

    Example: `posthorn alias show team@example.org`
    """
    session.output.item(session.api.get_alias(address), COLUMNS)


@command(aliases, "create")
def create_alias(session: Session, address: Alias, targets: Targets) -> None:
    """Create an alias.

    Example: `posthorn alias create team@example.org alice@example.org bob@example.org`
    """
    session.output.item(session.api.create_alias({"address": address, "targets": targets}), COLUMNS)


@command(aliases, "set")
def set_alias(session: Session, address: Alias, targets: Targets) -> None:
    """Set all targets of an alias anew.

    Example: `posthorn alias set team@example.org carol@example.org`
    """
    session.api.get_alias(address)
    _set_targets(session, address, targets)


@command(aliases, "confirm")
def confirm_target(
    session: Session,
    token: Annotated[str, typer.Argument(help="The token that the target has got by mail.")],
) -> None:
    """Have an alias forward to an address elsewhere that has given you its token.

    Example: `posthorn alias confirm 0198c1d2c3b47a519e2f8d7c6b5a4938.Zm9yd2FyZHM`
    """
    session.output.item(session.api.confirm_forward({"token": token}), COLUMNS)


@command(aliases, "add")
def add_targets(session: Session, address: Alias, targets: Targets) -> None:
    """Add targets to an alias.

    Example: `posthorn alias add team@example.org carol@example.org`
    """
    found: AliasView = session.api.get_alias(address)
    _set_targets(session, address, list(dict.fromkeys([*found["targets"], *targets])))


@command(aliases, "remove")
def remove_targets(session: Session, address: Alias, targets: Targets) -> None:
    """Take targets off an alias.

    Example: `posthorn alias remove team@example.org bob@example.org`
    """
    found = session.api.get_alias(address)
    unknown = [target for target in targets if target not in found["targets"]]
    if unknown:
        raise CommandError(f"{address} does not lead to {', '.join(unknown)}")
    left = [target for target in found["targets"] if target not in targets]
    if not left:
        raise usage("an alias leads somewhere: to have none, `posthorn alias delete`")
    _set_targets(session, address, left)


def _set_targets(session: Session, address: str, targets: list[str]) -> None:
    """Against the version that was read: what another has added meanwhile is not lost."""
    changed = session.api.change_alias(address, {"targets": targets}, if_match=session.api.etag)
    session.output.item(changed, COLUMNS)


@command(aliases, "delete")
def delete_alias(session: Session, address: Alias, *, yes: Yes = False) -> None:
    """Delete an alias.

    Example: `posthorn alias delete team@example.org`
    """
    found = session.api.get_alias(address)
    etag = session.api.etag
    session.ask(f"Delete the alias {found['address']}?", yes)
    session.api.delete_alias(address, if_match=etag)
    session.output.deleted("alias", found["address"])
