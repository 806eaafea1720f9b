"""All commands under one name."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from posthorn_cli.commands import (
    account,
    alias,
    app_password,
    audit,
    config,
    context,
    dead_letter,
    defence,
    dkim,
    doctor,
    domain,
    events,
    filtering,
    import_directory,  # noqa: F401 - more commands of import_from
    import_from,
    key,
    login,
    mailbox,
    manager,
    me,
    message,
    messages,
    quarantine,
    queue,
    report,
    route,
    sending,
    stats,
    suppression,
    system,
    tenant,
    transfer,
    webhook,
)
from posthorn_cli.faults import EXIT_CODES
from posthorn_cli.session import AsJson, BeforeCommand, InContext, Program, before_command

app = typer.Typer(
    name="posthorn",
    cls=Program,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)

for part in (login.app, sending.app, doctor.app, defence.app, system.app, config.app):
    app.add_typer(part)

for name, part in (
    ("context", context.app),
    ("tenant", tenant.tenants),
    ("domain", domain.domains),
    ("dkim", dkim.dkim),
    ("account", account.accounts),
    ("app-password", app_password.app_passwords),
    ("mailbox", mailbox.mailboxes),
    ("message", message.messages),
    ("messages", messages.messages),
    ("alias", alias.aliases),
    ("filter", filtering.filters),
    ("quarantine", quarantine.quarantine),
    ("key", key.keys),
    ("queue", queue.queue),
    ("route", route.routes),
    ("suppression", suppression.suppressions),
    ("dead-letter", dead_letter.dead),
    ("import", transfer.imports),
    ("import-from", import_from.sources),
    ("export", transfer.exports),
    ("webhook", webhook.webhooks),
    ("events", events.events),
    ("stats", stats.stats),
    ("report", report.reports),
    ("audit", audit.audit),
    ("manager", manager.managers),
    ("me", me.me),
):
    app.add_typer(part, name=name)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"posthorn {version('posthorn-cli')}")
        raise typer.Exit


@app.callback()
def about(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and end."
        ),
    ] = False,
    as_json: AsJson = False,
    in_context: InContext = None,
) -> None:
    """Manage a Posthorn mail system from a terminal or a script.

    First `posthorn context add` says which system (not needed for local mode on the same host).
    Then, for a new domain: `posthorn tenant create acme`, `posthorn domain create example.org
    --tenant acme`, `posthorn account create carol@example.org`, and `posthorn send-test` with
    `posthorn trace` to see that it works.

    Every command takes --help, and --json for programs. In a pipe, lists are plain lines with tabs
    between the columns.
    """
    before_command.set(BeforeCommand(as_json, in_context))
