"""`posthorn context`: which systems there are to talk to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from posthorn_cli import contexts
from posthorn_cli.client import Client
from posthorn_cli.contexts import Context
from posthorn_cli.faults import usage
from posthorn_cli.output import Column
from posthorn_cli.session import Session, command, group
from posthorn_cli.values import secret

app = group(
    "Systems to talk to: each context is a URL and an API key, kept in a file that only you can read.\n\n"
    "POSTHORN_URL with POSTHORN_API_KEY_FILE (or POSTHORN_API_KEY) in the environment take their place, `--context NAME` chooses"
    " one for a command, and `local` is the local mode whose home is POSTHORN_HOME (default .posthorn).\n\n"
    "Example: `posthorn context add work --url https://mail.example.org`"
)

Name = Annotated[str, typer.Argument(help="The context's name.")]


@command(app, "add")
def add(
    session: Session,
    name: Name,
    *,
    url: Annotated[str, typer.Option(help="Root of the API, such as https://mail.example.org.")],
    key_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Take the key from this file's first line; `-`: from stdin."
        ),
    ] = None,
    keep_in_file: Annotated[
        bool, typer.Option(help="Read the key from the file at each use, and do not copy it.")
    ] = False,
    ca_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Certificates to trust in place of the system's."),
    ] = None,
    use: Annotated[bool, typer.Option(help="Use it from now on.")] = True,
) -> None:
    """Add a context, or replace one.

    The key is asked for without showing it, unless a file is named.

    Example: `posthorn context add work --url https://mail.example.org --key-file ~/work.key`
    """
    contexts.check_name(name)
    path = session.settings.config
    config = contexts.load(path)
    if keep_in_file:
        if key_file is None or key_file == "-":
            raise usage("--keep-in-file needs a --key-file")
        file = Path(key_file).expanduser().absolute()
        contexts.read_key(file)
        made = Context(url, "", file, ca_file and ca_file.expanduser().absolute())
    else:
        key = secret(session.output, "API key", key_file)
        made = Context(url, key.strip(), None, ca_file and ca_file.expanduser().absolute())
    with Client(url, made.secret(), ca_file=made.ca_file):  # it is well formed
        pass
    current = name if use or config.current is None else config.current
    contexts.save(path, replace(config, contexts={**config.contexts, name: made}, current=current))
    session.output.done(
        f"context {name} added", {"name": name, "url": url, "current": current == name}
    )


@command(app, "list")
def list_(session: Session) -> None:
    """List the contexts.

    Example: `posthorn context list`
    """
    config = contexts.load(session.settings.config)
    rows = [
        {"name": name, "url": context.url, "current": name == config.current}
        for name, context in sorted(config.contexts.items())
    ]
    rows.append(
        {
            "name": contexts.LOCAL,
            "url": session.settings.local_url,
            "current": config.current == contexts.LOCAL,
        }
    )
    session.output.items(rows, [Column("name"), Column("url"), Column("current")])


@command(app, "use")
def use(session: Session, name: Name) -> None:
    """Use a context from now on.

    Example: `posthorn context use work`
    """
    config = contexts.load(session.settings.config)
    if name != contexts.LOCAL and name not in config.contexts:
        raise usage(f"there is no context {name!r}; `posthorn context list` shows those there are")
    contexts.save(session.settings.config, replace(config, current=name))
    session.output.done(f"context {name} is in use", {"name": name, "current": True})


@command(app, "remove")
def remove(session: Session, name: Name) -> None:
    """Remove a context with its key. The key itself goes on being valid: see `posthorn key delete`.

    Example: `posthorn context remove work`
    """
    config = contexts.load(session.settings.config)
    if name not in config.contexts:
        raise usage(f"there is no context {name!r} to be removed")
    left = {other: context for other, context in config.contexts.items() if other != name}
    current = None if config.current == name else config.current
    contexts.save(session.settings.config, replace(config, contexts=left, current=current))
    session.output.done(f"context {name} removed", {"name": name, "current": False})
