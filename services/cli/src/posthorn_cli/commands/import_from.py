"""`posthorn import-from imap`: the mail of accounts from another server, over IMAP."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, TaskID

from posthorn_cli.client import ClientError
from posthorn_cli.client.connection import verifying_context
from posthorn_cli.faults import FAILED, CommandError, usage
from posthorn_cli.moving.accounts import (
    Defaults,
    MovingAccount,
    endpoint_of,
    read_accounts,
    single,
)
from posthorn_cli.moving.move import Move, MoveReport, Wishes
from posthorn_cli.moving.pace import Pace
from posthorn_cli.moving.record import Record, record_path
from posthorn_cli.moving.source import Security, Way
from posthorn_cli.output import Column, size
from posthorn_cli.session import Session, command, group
from posthorn_cli.values import PasswordFile, opened, secret, size_of

sources = group("Bring mail over from another server. Nothing there is changed.")

MOST_PARALLEL = 16
_MOST_FILE_BYTES = 64 * 1024 * 1024
_FAILURES_SHOWN = 20
_COLUMNS = [
    Column("address"),
    Column("target"),
    Column("folders"),
    Column("messages"),
    Column("imported"),
    Column("duplicates", "there already"),
    Column("unique_ids", "unique ids"),
    Column("earlier", "by earlier runs"),
    Column("failed"),
    Column("imported_bytes", "size", size),
    Column("status"),
    Column("error", prose=True),
]
_FOLDER_COLUMNS = [
    Column("address"),
    Column("folder"),
    Column("mailbox"),
    Column("messages"),
    Column("bytes", "size", lambda value: "-" if value is None else size(value)),
    Column("error", prose=True),
]


@command(sources, "imap")
def import_from_imap(
    session: Session,
    address: Annotated[
        str | None, typer.Argument(help="The account here; without --accounts.")
    ] = None,
    *,
    accounts: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Move many: a CSV file with the columns address, host, user, password, target;"
            " `-`: stdin; with a heading also pop3_host. An empty host is --host, an empty user or"
            " target is the address.",
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(metavar="HOST[:PORT]", help="The server to bring mail from.")
    ] = None,
    pop3_host: Annotated[
        str | None,
        typer.Option(
            metavar="HOST[:PORT]",
            help="Its POP3 server, from which messages keep their unique ids (UIDL): clients that"
            " leave mail on the server do not fetch it again.",
        ),
    ] = None,
    user: Annotated[
        str | None, typer.Option(help="Name of the login there; without it, the address.")
    ] = None,
    password_file: PasswordFile = None,
    master_user: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Log in to every account as this user (Dovecot's master user), with its password.",
        ),
    ] = None,
    master_separator: Annotated[
        str, typer.Option(metavar="TEXT", help="What stands between user and master user.")
    ] = "*",
    oauth: Annotated[
        bool,
        typer.Option(
            "--oauth", help="What is given as a password is an OAuth 2.0 access token (XOAUTH2)."
        ),
    ] = False,
    security: Annotated[
        Security, typer.Option(help="Protection of the connection.")
    ] = Security.TLS,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Do not verify the server's certificate.")
    ] = False,
    source_ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Certificates to trust in place of the system's."),
    ] = None,
    folder: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this folder and those below it; repeatable."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Leave out this folder and those below it; repeatable."),
    ] = None,
    without_deleted: Annotated[
        bool, typer.Option("--without-deleted", help=r"Leave out messages flagged \Deleted.")
    ] = False,
    parallel: Annotated[
        int, typer.Option(min=1, max=MOST_PARALLEL, help="Accounts that are moved at a time.")
    ] = 2,
    rate: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Read at most so much a second, such as 2MiB."),
    ] = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="Read also what earlier runs have brought over."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be moved and where it would go.")
    ] = False,
) -> None:
    """Copy mail from an IMAP server into accounts here, with folders, flags, keywords and dates.

    The source is only read. What an account has already, byte for byte, is left out: a run that
    broke off goes on where it was, and a later one brings what is new. Special folders (Sent,
    Drafts, Junk, Trash, Archive) become those of the account here. A message that cannot be moved is
    told of, and the rest goes on. The accounts must exist here. Passwords come from a file or are
    asked for.

    Examples: `posthorn import-from imap carol@example.org --host imap.old.example`

    `posthorn import-from imap --accounts move.csv --host imap.old.example --parallel 4 --json`
    """
    if (address is None) == (accounts is None):
        raise usage("name one account, or many with --accounts FILE")
    if address is not None and host is None:
        raise usage("say where the mail is now: --host")
    if accounts is not None and user is not None:
        raise usage("--user is for one account; in a file it is a column")
    tls = _tls(insecure, source_ca)
    defaults = Defaults(
        endpoint=endpoint_of(host, security.port) if host else None,
        port=security.port,
        master=master_user,
        separator=master_separator,
        password=_password(session, accounts, master_user, password_file),
        pop3=endpoint_of(pop3_host, security.pop3_port) if pop3_host else None,
        pop3_port=security.pop3_port,
    )
    found = _accounts(address, accounts, user, defaults)
    stop = threading.Event()
    bytes_per_second = None if rate is None else float(max(size_of(rate), 1))
    way = Way(security, tls, Pace(bytes_per_second, sleep=stop.wait), stop.wait, oauth)
    if security is Security.NONE or insecure:
        session.output.note("warning: others on the way to the source can read passwords and mail")
    wishes = Wishes(
        tuple(folder or ()), tuple(exclude or ()), with_deleted=not without_deleted, dry_run=dry_run
    )
    reports = _moved(session, found, way, wishes, stop, parallel, again=again)
    _show(session, reports, dry_run)
    broken = sum(not report.is_whole for report in reports)
    if broken:
        raise CommandError(
            f"{broken} of {len(reports)} accounts were not moved whole; repeat the command", FAILED
        )


def _password(
    session: Session, accounts: str | None, master: str | None, file: str | None
) -> str | None:
    """Return the password that is not in the file of accounts."""
    if accounts is not None and master is None and file is None:
        return None
    if accounts == "-" and file == "-":
        raise usage("stdin cannot hold both the accounts and the password")
    return secret(session.output, "password", file)


def _accounts(
    address: str | None, file: str | None, user: str | None, defaults: Defaults
) -> list[MovingAccount]:
    if address is not None:
        return [single(address, user, defaults)]
    assert file is not None
    with opened(file) as stream:
        content = stream.read(_MOST_FILE_BYTES + 1)
    if len(content) > _MOST_FILE_BYTES:
        raise CommandError("the file of accounts is too long")
    return read_accounts(content, defaults)


def _tls(insecure: bool, authorities: Path | None) -> ssl.SSLContext:
    try:
        context = verifying_context(authorities)
    except (OSError, ssl.SSLError) as error:
        raise CommandError(f"cannot read certificates from {authorities}: {error}") from None
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(slots=True)
class _Bar:
    """A line of the progress bar, while its account is moved."""

    progress: Progress
    address: str
    _task: TaskID | None = None

    def planned(self, messages: int) -> None:
        """Show it."""
        self._task = self.progress.add_task(self.address, total=messages)

    def advanced(self, messages: int) -> None:
        """Move it on."""
        if self._task is not None:
            self.progress.advance(self._task, messages)


def _moved(
    session: Session,
    accounts: Sequence[MovingAccount],
    way: Way,
    wishes: Wishes,
    stop: threading.Event,
    parallel: int,
    *,
    again: bool,
) -> list[MoveReport]:
    api = session.api
    directory = session.settings.config.parent / "moves"

    def move(account: MovingAccount, progress: Progress) -> MoveReport:
        try:
            made = api.get_account(account.target)["created_at"]
        except ClientError as error:
            return MoveReport(account.address, account.target, error=f"the API: {error}")
        here, there = (api.url, account.target, made), (str(account.endpoint), account.user)
        record = Record(record_path(directory, *here, *there), fresh=again)
        bar = _Bar(progress, account.address)
        return Move(account, way, api, record, wishes, bar, stop).run()

    reports: list[MoveReport] = []
    with session.output.progress() as progress, _pool(parallel, stop) as pool:
        waiting = iter(accounts)
        running: set[Future[MoveReport]] = {
            pool.submit(move, account, progress) for account in islice(waiting, parallel)
        }
        while running:
            done, running = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
            reports += [future.result() for future in done]
            running |= {
                pool.submit(move, account, progress) for account in islice(waiting, len(done))
            }
    order = {account.target: place for place, account in enumerate(accounts)}
    return sorted(reports, key=lambda report: order[report.target])


@contextmanager
def _pool(parallel: int, stop: threading.Event) -> Iterator[ThreadPoolExecutor]:
    """Threads; at Ctrl-C each ends its batch and no other is begun."""
    with ThreadPoolExecutor(parallel, "move") as pool:
        try:
            yield pool
        except BaseException:
            stop.set()
            raise


def _show(session: Session, reports: Sequence[MoveReport], dry_run: bool) -> None:
    output = session.output
    if output.as_json:
        output.items([_line(report) | asdict(report) for report in reports], [])
        return
    if dry_run:
        rows = [
            {"address": report.address} | asdict(folder)
            for report in reports
            for folder in report.folders
        ]
        output.items(rows, _FOLDER_COLUMNS)
    else:
        output.items([_line(report) for report in reports], _COLUMNS)
    for report in reports:
        for folder in report.folders:
            if folder.error:
                output.note(f"{report.address}: {folder.folder}: {folder.error}")
        for failure in report.failures[:_FAILURES_SHOWN]:
            output.note(f"{report.address}: {failure.folder}, UID {failure.uid}: {failure.reason}")
        if len(report.failures) > _FAILURES_SHOWN:
            output.note(f"{report.address}: --json tells of more messages that failed")
        if report.error and dry_run:
            output.note(f"{report.address}: {report.error}")


def _line(report: MoveReport) -> dict[str, Any]:
    """Return the totals of an account."""
    return {
        "address": report.address,
        "target": report.target,
        "folders": len(report.folders),
        "messages": report.total("messages"),
        "imported": report.total("imported"),
        "duplicates": report.total("duplicates"),
        "unique_ids": report.total("unique_ids"),
        "earlier": report.total("earlier"),
        "failed": report.total("failed"),
        "imported_bytes": report.imported_bytes,
        "status": "ok" if report.is_whole else "failed",
        "error": report.error or None,
    }
