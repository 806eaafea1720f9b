"""Arguments and options that several groups of commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Address = Annotated[str, typer.Argument(help="The account's address.")]
Domain = Annotated[str, typer.Argument(help="A domain name.")]
OfDomain = Annotated[str | None, typer.Option("--domain", help="Only addresses of this domain.")]
