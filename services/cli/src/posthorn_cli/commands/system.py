"""`posthorn system`."""

from __future__ import annotations

from typing import Any

import typer

from posthorn_cli.faults import FAILED, CommandError
from posthorn_cli.output import Column, size
from posthorn_cli.session import Session, command

app = typer.Typer()

INSTANCE_COLUMNS = [
    Column("part"),
    Column("instance"),
    Column("version"),
    Column("state"),
    Column("since"),
    Column("certificate_ends_at", "certificate until"),
    Column("detail", prose=True),
]


@command(app, "system")
def system(session: Session) -> None:
    """Show every process of the system, what waits, and what is not well.

    The exit code is 1 when something is not.

    Example: `posthorn system`
    """
    found: dict[str, Any] = dict(session.api.get_system())
    if session.output.as_json:
        session.output.json(found)
    else:
        rows = ({**each, "detail": _reasons(each["reasons"])} for each in found["instances"])
        session.output.items(rows, INSTANCE_COLUMNS)
    for line in _figures(found):
        session.output.note(line)
    for each in found["problems"]:
        subject = each["subject"] or each["area"]
        runbook = f" ({each['runbook_url']})" if each.get("runbook_url") else ""
        session.output.note(f"not well: {subject}: {each['detail']}{runbook}")
    if not found["well"]:
        raise CommandError(f"{len(found['problems'])} problems", FAILED)
    session.output.note("all is well")


def _reasons(reasons: dict[str, str]) -> str:
    return ", ".join(f"{part}: {why}" for part, why in reasons.items())


def _figures(found: dict[str, Any]) -> list[str]:
    lines = [f"schema {found['schema_version'] or 'unknown'}"]
    if (ingest := found["ingest"]) is not None:
        lines.append(f"INGEST: {ingest['messages']} messages, {size(ingest['size_bytes'])}")
    if (dead := found["dead"]) is not None:
        reasons = "".join(f"; {each['messages']}: {each['reason']}" for each in dead["reasons"])
        lines.append(f"DEAD: {dead['messages']} messages{reasons}")
    known = {name: seconds for name, seconds in found["lags"].items() if seconds is not None}
    shown = (f"{name.removesuffix('_seconds')} {seconds:.1f} s" for name, seconds in known.items())
    if known:
        lines.append(f"behind: {', '.join(shown)}")
    return lines
