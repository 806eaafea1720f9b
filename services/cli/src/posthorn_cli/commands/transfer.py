"""`posthorn export mail` and `posthorn import mail`: the mail of an account as a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from posthorn_cli.commands.bulk import exports as exports
from posthorn_cli.commands.bulk import imports as imports
from posthorn_cli.faults import FAILED, CommandError
from posthorn_cli.options import Address
from posthorn_cli.session import Session, command
from posthorn_cli.values import opened

_PIECE = 256 * 1024


class Format(StrEnum):
    """Forms of mail in a file."""

    MBOX = "mbox"
    MAILDIR = "maildir"
    EML = "eml"


_FORMS = "mbox: one text; maildir: a tar archive; eml: a tar archive of a file for each message."
Form = Annotated[Format, typer.Option("--format", help=_FORMS)]
OneMailbox = Annotated[
    str | None, typer.Option("--mailbox", help="Only this one; without it, all.")
]
To = Annotated[
    str, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; `-`: to stdout.")
]


@command(exports, "mail")
def export_mail(
    session: Session,
    address: Address,
    *,
    form: Form = Format.MBOX,
    mailbox: OneMailbox = None,
    to: To = "-",
) -> None:
    """Write the mail of an account to a file. The file is there when it is whole.

    Example: `posthorn export mail carol@example.org --format maildir -o carol.tar`
    """
    pieces = session.api.export_mail(address, format_=form.value, mailbox=mailbox)
    write_mail(session, address, pieces, to)


def write_mail(session: Session, what: str, pieces: Iterator[bytes], to: str) -> None:
    """Write an export to a file, or to stdout."""
    first = next(pieces, b"")
    length = session.api.headers.get("Posthorn-Bytes", "")
    with _bar(session) as progress:
        task = progress.add_task(what, total=int(length) if length.isdigit() else None)

        def counted() -> Iterator[bytes]:
            for piece in chain([first], pieces):
                progress.advance(task, len(piece))
                yield piece

        if to == "-":
            session.output.write(counted())
        else:
            _write(Path(to), counted())


@command(imports, "mail")
def import_mail(
    session: Session,
    address: Address,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The mail; `-`: stdin.")],
    *,
    form: Form = Format.MBOX,
    mailbox: Annotated[
        str | None,
        typer.Option(
            help="Where all of it goes; without it, where the archive has it, of an mbox the INBOX."
        ),
    ] = None,
) -> None:
    """Put mail from a file into an account. What it has already is left out: an import that broke
    off is repeated.

    Example: `posthorn import mail carol@example.org carol.tar --format maildir`
    """
    with opened(file) as stream, _bar(session) as progress:
        task = progress.add_task(
            address, total=None if file == "-" else os.fstat(stream.fileno()).st_size
        )

        def pieces() -> Iterator[bytes]:
            while piece := stream.read(_PIECE):
                progress.advance(task, len(piece))
                yield piece

        found = session.api.import_mail(
            address, pieces(), format_=form.value, mailbox=mailbox, media=_media(form)
        )
    if session.output.as_json:
        session.output.json(found)
    else:
        for failure in found["failures"]:
            name = failure.get("name") or f"message {failure['message']}"
            session.output.note(f"{name}: {failure['reason']}")
        for record in found["left_out_records"]:
            session.output.note(
                f"{record.get('name') or f'message {record["message"]}'} left out: {record['reason']}"
            )
        if found["from_lines_left"]:
            session.output.note(
                f"{found['from_lines_left']} lines that begin with From were taken for text of a message"
            )
        counts = [
            f"{found['imported']} imported",
            f"{found['duplicates']} there already",
            f"{found['failed']} failed",
        ]
        if found["left_out"]:
            counts.append(f"{found['left_out']} left out")
        session.output.line(", ".join(counts))
    if found["failed"]:
        raise CommandError(f"{found['failed']} messages were not imported", FAILED)


def _media(form: Format) -> str:
    return "application/mbox" if form is Format.MBOX else "application/x-tar"


def _bar(session: Session) -> Progress:
    return session.output.progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    )


def _write(path: Path, pieces: Iterator[bytes]) -> None:
    """Write a file for its owner alone, under its name once it is whole."""
    new = path.with_name(f"{path.name}.part")
    try:
        with _made(new) as out:
            out.writelines(pieces)
        new.replace(path)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from None
    finally:
        new.unlink(missing_ok=True)


def _made(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
