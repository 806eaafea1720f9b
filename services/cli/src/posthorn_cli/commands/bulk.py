"""`posthorn import` and `posthorn export`: accounts and aliases by the thousand, a line of JSON
each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import batched
from typing import Annotated, Any

import typer
from rich.progress import Progress
from rich.text import Text

from posthorn_cli.client import Unreachable, every
from posthorn_cli.client.connection import FIRST_PAUSE, TRIES
from posthorn_cli.faults import FAILED, CommandError
from posthorn_cli.options import OfDomain
from posthorn_cli.output import harmless
from posthorn_cli.session import Session, command, group
from posthorn_cli.values import given, opened

imports = group(
    "Make many accounts or aliases from lines of JSON. What is there just so stays: an import that broke off is repeated.\n\n"
    "Example: `posthorn import accounts people.ndjson`"
)
exports = group(
    "Write accounts or aliases as lines of JSON, one each.\n\nExample: `posthorn export aliases > aliases.ndjson`"
)

LINES = 200
"""Lines that go in one request: enough to be quick, few enough that a repeat costs little."""

File = Annotated[str, typer.Argument(metavar="FILE", help="A line of JSON for each; `-`: stdin.")]
Quiet = Annotated[bool, typer.Option("--failed-only", help="Print only lines that failed.")]
Plan = Annotated[
    bool, typer.Option("--plan", help="Say what would come of it, and create nothing.")
]

type Send = Callable[[bytes], Sequence[Any]]


@command(imports, "accounts")
def import_accounts(
    session: Session, file: File, *, failed_only: Quiet = False, plan: Plan = False
) -> None:
    """Create accounts from lines such as `{"address": "carol@example.org", "password": "…",
    "quota_bytes": 1073741824}`.

    In place of a password there may be a `password_hash` (argon2id, or of another program). A line is printed
    for each: its number, address and status, which is created, unchanged or failed; on a terminal,
    for those that failed. Their domains must exist.

    Example: `posthorn import accounts people.ndjson --plan`
    """
    api = session.api
    send = api.plan_account_import if plan else api.import_accounts
    _note(session, plan)
    _import(session, file, failed_only, "accounts", send)


@command(imports, "aliases")
def import_aliases(
    session: Session, file: File, *, failed_only: Quiet = False, plan: Plan = False
) -> None:
    """Create aliases from lines such as `{"address": "team@example.org", "targets":
    ["carol@example.org"]}`.

    Example: `posthorn import aliases aliases.ndjson`
    """
    api = session.api
    send = api.plan_alias_import if plan else api.import_aliases
    _note(session, plan)
    _import(session, file, failed_only, "aliases", send)


@command(exports, "accounts")
def export_accounts(session: Session, *, domain: OfDomain = None) -> None:
    """Write all accounts, without their passwords, which are known to nobody.

    Example: `posthorn export accounts --domain example.org > accounts.ndjson`
    """
    _export(session, "accounts", every(session.api.list_accounts, **given(domain=domain)))


@command(exports, "aliases")
def export_aliases(session: Session, *, domain: OfDomain = None) -> None:
    """Write all aliases, in the form that `posthorn import aliases` takes.

    Example: `posthorn export aliases > aliases.ndjson`
    """
    found = every(session.api.list_aliases, **given(domain=domain))
    _export(
        session,
        "aliases",
        ({"address": each["address"], "targets": each["targets"]} for each in found),
    )


def _note(session: Session, plan: bool) -> None:
    if plan:
        session.output.note("a plan: nothing is created")


def _export(session: Session, what: str, items: Iterable[Any]) -> None:
    if session.output.for_people:  # the lines themselves show that it goes on
        for item in items:
            session.output.json_line(item)
        return
    with session.output.progress() as progress:
        task = progress.add_task(what, total=None)
        for item in items:
            session.output.json_line(item)
            progress.advance(task)


def _import(session: Session, file: str, failed_only: bool, what: str, send: Send) -> None:
    counts: Counter[str] = Counter()
    managed: Counter[str] = Counter()
    beside_bar = session.output.for_people and not session.output.as_json
    with opened(file) as stream, session.output.progress() as progress:
        task = progress.add_task(what, total=None if file == "-" else _lines_in(file))
        numbered = ((number, line) for number, line in enumerate(stream, 1) if line.strip())
        for batch in batched(numbered, LINES, strict=False):
            for answer in _sent(send, batch):
                counts[answer["status"]] += 1
                if answer["status"] == "failed" and answer.get("managed_by") is not None:
                    managed[answer["managed_by"]] += 1
                if not (failed_only or beside_bar) or answer["status"] == "failed":
                    _tell(session, answer, progress if beside_bar else None)
            progress.advance(task, len(batch))
    session.output.note(
        ", ".join(f"{counts[status]} {status}" for status in ("created", "unchanged", "failed"))
    )
    for manager, number in sorted(managed.items()):
        session.output.note(
            f"warning: {number} of the {what} that are different are managed by {manager}: change them there"
        )
    if counts["failed"]:
        raise CommandError(
            f"{counts['failed']} lines failed; mend them and import the file again", FAILED
        )


def _sent(send: Send, batch: Sequence[tuple[int, bytes]]) -> Iterator[dict[str, Any]]:
    """Send lines until the API has gone through all of them; returns the answers with the
    numbers that lines have in the file."""
    content = b"".join(line.rstrip(b"\r\n") + b"\n" for _, line in batch)
    pause = FIRST_PAUSE
    for attempt in range(1, TRIES + 1):
        *answers, last = send(content) or ({},)
        if last.get("done"):
            for answer in answers:
                yield {**answer, "line": batch[answer["line"] - 1][0]}
            return
        if last.get("status") not in (None, 503, 408):
            raise CommandError(str(last.get("detail") or "the import broke off"))
        if attempt < TRIES:
            time.sleep(pause)
            pause *= 2
    raise Unreachable(
        f"the import broke off at line {batch[0][0]}: {last.get('detail', 'no reason was given')}"
    )


def _tell(session: Session, answer: dict[str, Any], bar: Progress | None) -> None:
    if session.output.as_json:
        session.output.json_line(answer)
        return
    faults = "; ".join(
        f"{fault['field']}: {fault['message']}" for fault in answer.get("errors") or ()
    )
    if answer.get("managed_by") is not None:
        faults = "; ".join(filter(None, (faults, f"managed by {answer['managed_by']}")))
    cells = [str(answer["line"]), str(answer.get("address") or "-"), answer["status"], faults]
    if bar is None:
        session.output.line("\t".join(cells).rstrip())
    else:  # above the bar, which stays
        number, address, status, _ = cells
        bar.console.print(
            Text(harmless(f"{number:>6}  {address:<32}  {status}  {faults}".rstrip()))
        )


def _lines_in(file: str) -> int:
    with opened(file) as stream:
        return sum(1 for line in stream if line.strip())
