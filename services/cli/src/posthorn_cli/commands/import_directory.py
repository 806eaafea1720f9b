"""`posthorn import-from postfix` and the like: domains, accounts and aliases of another server, from
its files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from posthorn_cli.client.types import ConfigDocument
from posthorn_cli.commands.config import Tenant, tell
from posthorn_cli.commands.import_from import sources
from posthorn_cli.faults import FAILED, CommandError, usage
from posthorn_cli.moving.directory import SourceDirectory
from posthorn_cli.moving.sources import (
    read_docker_mailserver,
    read_domains,
    read_mailboxes,
    read_mailcow,
    read_mailu,
    read_passwd_file,
    read_postfixadmin,
    read_virtual,
    text_of,
)
from posthorn_cli.output import Column
from posthorn_cli.session import Session, command
from posthorn_cli.values import opened

_MAX_FILE_BYTES = 512 * 1024 * 1024
_DMS_FILES = (
    "postfix-accounts.cf",
    "postfix-virtual.cf",
    "dovecot-quotas.cf",
    "postfix-regexp.cf",
    "postfix-aliases.cf",
    "postfix-relaymap.cf",
    "postfix-send-access.cf",
    "postfix-receive-access.cf",
)
_FOUND = [Column("what"), Column("number")]
_NOT_TAKEN = [Column("kind"), Column("name"), Column("reason", "why it is not taken", prose=True)]

Dump = Annotated[str, typer.Argument(metavar="FILE", help="The file; `-`: stdin.")]
Domains = Annotated[
    list[str] | None,
    typer.Option("--domain", metavar="NAME", help="Only this domain; repeatable."),
]
Into = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="FILE",
        help="Write the plan, which `posthorn apply -f FILE` takes; it holds password hashes.",
    ),
]
Apply = Annotated[
    bool, typer.Option("--apply", help="Create what is taken here, and change what differs.")
]
Weak = Annotated[
    bool,
    typer.Option(
        "--weak-hashes",
        help="Take hashes without a salt and of MD5 too; the API must allow it"
        " (POSTHORN_ALLOW_WEAK_PASSWORD_HASHES).",
    ),
]


@command(sources, "postfix")
def from_postfix(
    session: Session,
    *,
    virtual: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="A map of virtual_alias_maps, as text; repeatable."),
    ] = None,
    mailboxes: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="A map of virtual_mailbox_maps, as text; repeatable."),
    ] = None,
    domains: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="A list of virtual_mailbox_domains; repeatable."),
    ] = None,
    passwd: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="A passwd-file of Dovecot; repeatable."),
    ] = None,
    domain: Domains = None,
    output: Into = None,
    apply: Apply = False,
    weak_hashes: Weak = False,
    tenant: Tenant = None,
) -> None:
    """Take domains, accounts and aliases from maps of Postfix and passwd-files of Dovecot.

    Without --apply nothing is created, and the API is not asked.

    Example: `posthorn import-from postfix --virtual /etc/postfix/virtual --passwd /etc/dovecot/users
    --output plan.json`
    """
    if not (virtual or mailboxes or domains or passwd):
        raise usage("name at least one of --virtual, --mailboxes, --domains and --passwd")

    def read(found: SourceDirectory) -> None:
        # accounts with passwords come before those that only a map of mailboxes names
        for files, reader in (
            (domains, read_domains),
            (passwd, read_passwd_file),
            (mailboxes, read_mailboxes),
            (virtual, read_virtual),
        ):
            for file in files or []:
                reader(found, text_of(_content(file), file))

    _take(session, read, domain, output, tenant, apply=apply, weak=weak_hashes)


@command(sources, "postfixadmin")
def from_postfixadmin(
    session: Session,
    file: Dump,
    *,
    domain: Domains = None,
    output: Into = None,
    apply: Apply = False,
    weak_hashes: Weak = False,
    tenant: Tenant = None,
) -> None:
    """Take domains, accounts and aliases from a dump of PostfixAdmin's database, of MySQL, MariaDB
    or Postgres, as SQL text.

    Example: `mysqldump postfix | posthorn import-from postfixadmin - --output plan.json`
    """
    _take_file(session, file, read_postfixadmin, domain, output, tenant, apply, weak_hashes)


@command(sources, "mailcow")
def from_mailcow(
    session: Session,
    file: Dump,
    *,
    domain: Domains = None,
    output: Into = None,
    apply: Apply = False,
    weak_hashes: Weak = False,
    tenant: Tenant = None,
) -> None:
    """Take domains, accounts and aliases from a dump of mailcow's database, as SQL text.

    Example: `posthorn import-from mailcow mailcow.sql --output plan.json`
    """
    _take_file(session, file, read_mailcow, domain, output, tenant, apply, weak_hashes)


@command(sources, "mailu")
def from_mailu(
    session: Session,
    file: Dump,
    *,
    domain: Domains = None,
    output: Into = None,
    apply: Apply = False,
    weak_hashes: Weak = False,
    tenant: Tenant = None,
) -> None:
    """Take domains, accounts and aliases from what `flask mailu config-export --secrets` writes.

    Example: `posthorn import-from mailu mailu.yaml --output plan.json`
    """
    _take_file(session, file, read_mailu, domain, output, tenant, apply, weak_hashes)


@command(sources, "docker-mailserver")
def from_docker_mailserver(
    session: Session,
    directory: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="Its directory of configuration.")
    ],
    *,
    domain: Domains = None,
    output: Into = None,
    apply: Apply = False,
    weak_hashes: Weak = False,
    tenant: Tenant = None,
) -> None:
    """Take domains, accounts, quotas and aliases from the configuration of docker-mailserver.

    Example: `posthorn import-from docker-mailserver docker-data/dms/config --output plan.json`
    """
    if not (directory / _DMS_FILES[0]).exists():
        raise CommandError(f"{directory} has no {_DMS_FILES[0]}")
    files = {
        name: text_of(_content(str(directory / name)), name)
        for name in _DMS_FILES
        if (directory / name).exists()
    }

    def read(found: SourceDirectory) -> None:
        read_docker_mailserver(found, files)

    _take(session, read, domain, output, tenant, apply=apply, weak=weak_hashes)


def _take_file(
    session: Session,
    file: str,
    reader: Callable[[SourceDirectory, bytes], None],
    domain: list[str] | None,
    output: Path | None,
    tenant: str | None,
    apply: bool,
    weak: bool,
) -> None:
    content = _content(file)

    def read(found: SourceDirectory) -> None:
        reader(found, content)

    _take(session, read, domain, output, tenant, apply=apply, weak=weak)


def _take(
    session: Session,
    read: Callable[[SourceDirectory], None],
    domain: list[str] | None,
    output: Path | None,
    tenant: str | None,
    *,
    apply: bool,
    weak: bool,
) -> None:
    """Read, write the plan, show it, and apply it where that is wanted."""
    found = SourceDirectory(frozenset(name.lower() for name in domain or ()), weak)
    read(found)
    found.finish()
    if kinds := found.too_many():
        raise CommandError(
            f"there are too many {', '.join(kinds)} for one plan: take the domains in turn with --domain"
        )
    document = found.document()
    if output is not None:
        _write(output, document)
    outcome: Any = None
    if apply:
        outcome = session.api.put_config(cast("ConfigDocument", document), tenant=tenant)
    _show(session, found, document, outcome)
    if outcome is not None and outcome["failed"]:
        raise CommandError(
            f"{outcome['failed']} changes failed; the same again does what is left", FAILED
        )


def _show(session: Session, found: SourceDirectory, document: Any, outcome: Any) -> None:
    not_taken = [
        {"kind": each.kind, "name": each.name, "reason": each.reason} for each in found.not_taken
    ]
    counts = {key: len(items) for key, items in document.items()}
    out = session.output
    if out.as_json:
        shown = counts | {"hashes": dict(found.hashes), "not_taken": not_taken}
        out.json(shown | ({} if outcome is None else {"outcome": outcome}))
        return
    rows = [{"what": key, "number": number} for key, number in counts.items()]
    rows += [
        {"what": f"accounts with {scheme}", "number": number}
        for scheme, number in sorted(found.hashes.items())
    ]
    out.items(rows, _FOUND)
    if not_taken:
        out.items(not_taken, _NOT_TAKEN)
    if outcome is None:
        out.note("nothing was created here: see --output and --apply")
    else:
        tell(session, outcome)


def _write(path: Path, document: Any) -> None:
    """Write the plan so that nobody else can read the hashes."""
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(number, "w", encoding="utf-8") as stream:
            os.fchmod(number, 0o600)
            json.dump(document, stream, ensure_ascii=False, indent=2)
            stream.write("\n")
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from None


def _content(file: str) -> bytes:
    with opened(file) as stream:
        content = stream.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        raise CommandError(f"{file} is longer than {_MAX_FILE_BYTES // 1024**2} MiB")
    return content
