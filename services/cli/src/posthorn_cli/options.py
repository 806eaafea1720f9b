"""Arguments and options that several groups of commands have."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Address = Annotated[str, typer.Argument(help="The account's address.")]
Domain = Annotated[str, typer.Argument(help="A domain name.")]
OfDomain = Annotated[str | None, typer.Option("--domain", help="Only addresses of this domain.")]


def list_options(*orders: str, states: str = "", tenant: bool = True) -> dict[str, Any]:
    """Return the options of a command that lists, by the API's names. ``orders`` are those that it
    can be sorted by, ``states`` what its states are; empty: it has none."""
    options: dict[str, Any] = {
        "q": Annotated[
            str | None,
            typer.Option(
                "--match", "-m", metavar="TEXT", help="Only what contains this text, in any case."
            ),
        ]
    }
    if states:
        options["state"] = Annotated[
            str | None,
            typer.Option("--state", metavar="STATE", help=f"Only in this state: {states}."),
        ]
    if tenant:
        options["tenant"] = Annotated[
            str | None, typer.Option("--tenant", metavar="NAME", help="Only what is this tenant's.")
        ]
    options["sort"] = Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="ORDER",
            help=f"By {' or '.join(orders)}; with -, such as -{orders[-1]}, the other way round.",
        ),
    ]
    options["total"] = Annotated[
        bool | None, typer.Option("--total", help="Say how many there are, on the error output.")
    ]
    return options
