"""`posthorn apply` and `posthorn export config`: all of a tenant in one file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, cast

import typer
import yaml

from posthorn_cli.client.types import ConfigDocument, ConfigObject, ConfigOutcome
from posthorn_cli.commands.bulk import exports
from posthorn_cli.faults import FAILED, CommandError
from posthorn_cli.output import Column
from posthorn_cli.session import Session, Yes, command
from posthorn_cli.values import opened

app = typer.Typer()

Tenant = Annotated[str | None, typer.Option(help="Whose; without it yours, or `default`.")]

_SHOWN = 20
COLUMNS = [
    Column("action"),
    Column("kind"),
    Column("object"),
    Column("outcome"),
    Column("fields"),
    Column("detail", prose=True),
    Column("secret"),
]


@command(app, "apply")
def apply(
    session: Session,
    *,
    file: Annotated[
        str,
        typer.Option(
            "--file", "-f", metavar="FILE", help="What there is to be, in YAML or JSON; `-`: stdin."
        ),
    ],
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would be done.")] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Delete what is there and not named, of the kinds that are listed."
        ),
    ] = False,
    force: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS", help="With --prune: delete this account though it has mail."
        ),
    ] = None,
    manager: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Mark what the file names as managed by this tool, such as argo-cd: who changes it elsewhere is"
            " warned.",
        ),
    ] = None,
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="With --manager: also what another manager has."),
    ] = False,
    tenant: Tenant = None,
    yes: Yes = False,
) -> None:
    """Bring a tenant's domains, accounts, aliases, webhooks and routes to the state that a file
    describes.

    `posthorn export config` gives such a file. What already matches is not touched; what somebody
    else changes meanwhile is left as it is, and the command fails with 6. Before anything is
    deleted you are asked.

    Example: `posthorn apply -f acme.yaml --tenant acme --plan`
    """
    document = _read(file)
    put = partial(
        session.api.put_config,
        document,
        tenant=tenant,
        prune=prune,
        force=force,
        manager=manager,
        take_over=take_over or None,
    )
    planned = put(plan=True)
    etag = session.api.etag
    if plan or (manager is None and not planned["changes"]):
        tell(session, planned)
        return
    losses = [change["object"] for change in planned["changes"] if change["action"] == "delete"]
    if losses:
        session.ask(
            f"Delete {', '.join(losses[:10])}{' and more' if len(losses) > 10 else ''}?", yes
        )
    done = put(if_match=etag)
    tell(session, done)
    if done["failed"]:
        raise CommandError(
            f"{done['failed']} changes failed; the same again does what is left", FAILED
        )


@command(exports, "config")
def export_config(session: Session, *, tenant: Tenant = None) -> None:
    """Write all that a tenant has, in the form that `posthorn apply` takes: YAML, or JSON with
    --json. Passwords are not in it.

    Example: `posthorn export config --tenant acme > acme.yaml`
    """
    found = session.api.get_config(tenant=tenant)
    if session.output.as_json:
        session.output.json(found)
        return
    text = yaml.safe_dump(found, sort_keys=False, allow_unicode=True, default_flow_style=False)
    session.output.write([text.encode()])


def _read(file: str) -> ConfigDocument:
    with opened(file) as stream:
        content = stream.read()
    try:
        found = yaml.safe_load(content)
        json.dumps(found)  # YAML knows dates and sets, which are nothing here
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise CommandError(
            f"{file} does not read: {place}{error.problem or error.context}"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        raise CommandError(f"{file} does not read: it is no YAML and no JSON") from None
    except (TypeError, ValueError):
        raise CommandError(
            f"{file}: put dates in quotation marks; there are only texts, numbers and lists here"
        ) from None
    if not isinstance(found, dict):
        raise CommandError(f"{file} names nothing: it begins with domains:, accounts: or the like")
    return cast("ConfigDocument", found)


def tell(session: Session, outcome: ConfigOutcome) -> None:
    """Show a plan or its outcome."""
    output = session.output
    if output.as_json:
        output.json(outcome)
        return
    output.items(cast("list[dict[str, Any]]", outcome["changes"]), COLUMNS)
    if outcome["unlisted"]:
        names = ", ".join(f"{each['kind']} {each['object']}" for each in outcome["unlisted"][:20])
        output.note(f"there and not named in the file (--prune deletes it): {names}")
    _tell_of_managers(session, outcome)
    if not outcome["changes"]:
        output.note("all is as it should be")
    elif not outcome["applied"]:
        output.note("this is a plan: nothing was done")


def _tell_of_managers(session: Session, outcome: ConfigOutcome) -> None:
    note, manager = session.output.note, outcome.get("manager")
    for change in outcome["changes"]:
        if change.get("managed_by") is not None:
            note(
                f"warning: {change['kind']} {change['object']} is managed by {change['managed_by']}"
                + ("" if manager is not None else ": its next apply undoes the change")
            )
    if manager is not None and outcome.get("marked"):
        note(f"newly managed by {manager}: {_names(outcome['marked'])}")
    if manager is not None and outcome.get("released"):
        note(f"no longer managed by {manager}: {_names(outcome['released'])}")


def _names(objects: Sequence[ConfigObject]) -> str:
    more = f" and {len(objects) - _SHOWN} more" if len(objects) > _SHOWN else ""
    return ", ".join(f"{each['kind']} {each['object']}" for each in objects[:_SHOWN]) + more
