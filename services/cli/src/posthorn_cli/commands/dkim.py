"""`posthorn dkim`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, cast

import typer

from posthorn_cli.client.types import DkimRotation
from posthorn_cli.options import Domain
from posthorn_cli.output import Column
from posthorn_cli.session import Session, command, group
from posthorn_cli.values import given, seconds_of

dkim = group(
    "DKIM keys, with which a domain's messages are signed.\n\nExample: `posthorn dkim list example.org`"
)
COLUMNS = [
    Column("selector"),
    Column("algorithm"),
    Column("state"),
    Column("signs_from", "signs from"),
    Column("record"),
    Column("value"),
]


class Algorithm(StrEnum):
    """Algorithms of DKIM."""

    RSA = "rsa"
    ED25519 = "ed25519"


@command(dkim, "list")
def list_dkim(session: Session, name: Domain) -> None:
    """Show the DKIM keys of a domain, newest first, with the TXT record that each needs.

    Example: `posthorn dkim list example.org`
    """
    _dkim(session, cast("dict[str, Any]", session.api.list_dkim_keys(name)))


@command(dkim, "rotate")
def rotate_dkim(
    session: Session,
    name: Domain,
    *,
    algorithm: Annotated[
        list[Algorithm] | None,
        typer.Option(help="Make a key of this kind; without it, one of each."),
    ] = None,
    selector: Annotated[str | None, typer.Option(help="What the new selectors begin with.")] = None,
    delay: Annotated[
        str | None,
        typer.Option(metavar="SPAN", help="When the new keys begin to sign, such as 0s or 2d."),
    ] = None,
    overlap: Annotated[
        str | None,
        typer.Option(metavar="SPAN", help="How long the old records stay published after that."),
    ] = None,
) -> None:
    """Create new DKIM keys; publish the records that are shown, before they begin to sign.

    Example: `posthorn dkim rotate example.org --delay 2d`
    """
    body = given(
        algorithms=algorithm and [each.value for each in algorithm],
        selector=selector,
        delay_seconds=None if delay is None else seconds_of(delay),
        overlap_seconds=None if overlap is None else seconds_of(overlap),
    )
    _dkim(
        session,
        cast("dict[str, Any]", session.api.rotate_dkim_keys(name, cast("DkimRotation", body))),
    )


def _dkim(session: Session, found: dict[str, Any]) -> None:
    if session.output.as_json:
        session.output.json(found)
        return
    rows = [
        {**key, "record": key["dns"]["name"], "value": key["dns"]["value"]} for key in found["keys"]
    ]
    session.output.items(rows, COLUMNS)
