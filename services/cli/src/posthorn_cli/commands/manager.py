"""`posthorn manager`."""

from __future__ import annotations

from typing import Annotated

import typer

from posthorn_cli.commands.config import Tenant
from posthorn_cli.output import Column
from posthorn_cli.session import Session, Yes, command, group

managers = group(
    "Managers: tools that apply a configuration under a name, by `posthorn apply --manager`.\n\n"
    "Example: `posthorn manager list`"
)

COLUMNS = [
    Column("name"),
    *(Column(kind) for kind in ("domains", "accounts", "aliases", "webhooks", "routes")),
    Column("since"),
]


@command(managers, "list")
def list_managers(session: Session, *, tenant: Tenant = None) -> None:
    """List the managers of a tenant and the numbers of objects that they manage.

    Example: `posthorn manager list --tenant acme`
    """
    found = session.api.list_managers(tenant=tenant)["items"]
    if session.output.as_json:
        session.output.items(found, COLUMNS)
        return
    rows = [{"name": each["name"], "since": each["since"], **each["objects"]} for each in found]
    session.output.items(rows, COLUMNS)


@command(managers, "release")
def release_manager(
    session: Session,
    name: Annotated[str, typer.Argument(help="Name of the manager.")],
    *,
    tenant: Tenant = None,
    yes: Yes = False,
) -> None:
    """Release all that a manager manages: objects stay, and changes to them are warned of no more.

    Example: `posthorn manager release argo-cd --tenant acme`
    """
    session.ask(f"Release all objects that {name} manages?", yes)
    session.api.release_manager(name, tenant=tenant)
