"""`posthorn defence` and `posthorn listings`."""

from __future__ import annotations

import typer

from posthorn_cli.faults import FAILED, CommandError
from posthorn_cli.output import Column
from posthorn_cli.session import Session, command

app = typer.Typer()

STATE_COLUMNS = [Column("part"), Column("state"), Column("detail", prose=True)]
LISTING_COLUMNS = [
    Column("subject"),
    Column("zone"),
    Column("code"),
    Column("reason", prose=True),
]


@command(app, "defence")
def defence(session: Session) -> None:
    """Show the scanning tier: its engines, blocklists and resolver, and the mail that waits for it.

    Example: `posthorn defence`
    """
    found = session.api.get_defence()
    up = {True: "up", False: "away", None: "unknown"}
    unscanned = found["unscanned"]
    rows = [
        {"part": "scan", "state": up[found["scanning"]], "detail": found["detail"]},
        {"part": "resolver", "state": up[found["resolver_up"]], "detail": ""},
        {
            "part": "unscanned",
            "state": "unknown" if unscanned is None else str(unscanned),
            "detail": "messages wait to be scanned" if unscanned else "",
        },
        *(
            {"part": each["name"], "state": up[each["up"]], "detail": each["detail"]}
            for each in found["engines"]
        ),
        *(
            {
                "part": each["zone"],
                "state": "in use" if each["healthy"] else "not in use",
                "detail": each["detail"],
            }
            for each in found["zones"]
        ),
    ]
    session.output.items(iter(rows), STATE_COLUMNS)


@command(app, "listings")
def listings(session: Session) -> None:
    """Show the blocklists that hold addresses and domains of this system.

    The exit code is 1 when there are any.

    Example: `posthorn listings`
    """
    found = session.api.get_listings()
    session.output.items((dict(each) for each in found["listings"]), LISTING_COLUMNS)
    zones = sum(each["healthy"] for each in found["zones"])
    names = len(found["addresses"]) + len(found["domains"])
    session.output.note(f"{names} addresses and domains, {zones} of {len(found['zones'])} lists")
    if found["listings"]:
        raise CommandError(f"{len(found['listings'])} listings", FAILED)
