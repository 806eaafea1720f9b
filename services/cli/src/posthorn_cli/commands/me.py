"""`posthorn me`: what the holder of an account does for themselves."""

from __future__ import annotations

from posthorn_cli.output import Column
from posthorn_cli.session import Session, command, group

me = group("Your own account: log in first, with `posthorn login`.\n\nExample: `posthorn me show`")
COLUMNS = [
    Column("kind"),
    Column("name"),
    Column("role"),
    Column("tenant"),
    Column("expires_at", "expires"),
    Column("version"),
]


@command(me, "show")
def show_me(session: Session) -> None:
    """Show who you are to the API, and what you may do (with --json).

    Example: `posthorn me show`
    """
    session.output.item(session.api.get_me(), COLUMNS)
