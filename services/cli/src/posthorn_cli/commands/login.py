"""`posthorn login` and `posthorn logout`: sessions of people who have an account."""

from __future__ import annotations

from dataclasses import replace
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Annotated

import typer

from posthorn_cli import contexts
from posthorn_cli.client import Client
from posthorn_cli.contexts import Context
from posthorn_cli.faults import CommandError
from posthorn_cli.options import Address
from posthorn_cli.session import Session, command
from posthorn_cli.values import PasswordFile, secret

app = typer.Typer()

_COOKIE = "__Host-posthorn"
Name = Annotated[str, typer.Option(help="Name of the context that holds the session.")]


@command(app, "login")
def log_in(
    session: Session,
    address: Address,
    *,
    url: Annotated[
        str | None, typer.Option(help="Root of the API; without it, that of local mode.")
    ] = None,
    name: Name = "me",
    password_file: PasswordFile = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Certificates to trust in place of the system's."),
    ] = None,
    use: Annotated[bool, typer.Option(help="Use the session from now on.")] = True,
) -> None:
    """Log in as an account, with its password, to use `posthorn me`.

    The session ends after 8 hours without use, and after 24 hours.

    Example: `posthorn login carol@example.org --url https://mail.example.org`
    """
    contexts.check_name(name)
    where = url or session.settings.local_url
    password = secret(session.output, "password", password_file)
    with Client(where, ca_file=ca_file) as client:
        me = client.create_login({"account": address, "password": password})
        token = SimpleCookie(client.headers.get("set-cookie", "")).get(_COOKIE)
    if token is None:
        raise CommandError(f"{where} did not give a session: is it the API of this version?")
    path = session.settings.config
    config = contexts.load(path)
    made = Context(where, token.value, None, ca_file and ca_file.expanduser().absolute())
    current = name if use or config.current is None else config.current
    contexts.save(path, replace(config, contexts={**config.contexts, name: made}, current=current))
    document = {"context": name, "address": me["name"], "expires_at": me["expires_at"]}
    session.output.done(f"logged in as {me['name']}", document)


@command(app, "logout")
def log_out(session: Session, *, name: Name = "me") -> None:
    """Log out: the session ends on the server, and its context is removed.

    Example: `posthorn logout`
    """
    path = session.settings.config
    config = contexts.load(path)
    if name not in config.contexts:
        raise CommandError(f"there is no context {name!r} to log out of")
    context = config.contexts[name]
    with Client(context.url, context.secret(), ca_file=context.ca_file) as client:
        client.delete_login()
    left = {other: each for other, each in config.contexts.items() if other != name}
    current = None if config.current == name else config.current
    contexts.save(path, replace(config, contexts=left, current=current))
    session.output.done("logged out", {"context": name})
