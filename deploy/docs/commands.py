"""The page of the command line, from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from deploy.docs.markdown import code, page, prose, table

from posthorn_cli.app import app
from posthorn_cli.faults import EXIT_CODES

_EVERYWHERE = {"as_json", "in_context", "help", "install_completion", "show_completion"}
_ABOUT = """\
`posthorn` does everything through the [REST API](api/index.md). Beside a local mode it finds the API and the key by itself; for any
other system say once where it is: `posthorn context add work --url https://mail.example.org`. Environment variables are listed
under [settings](settings.md#command-line).

Every command takes `--help`, `--json` (JSON for programs) and `--context NAME` (the system to talk to). In a pipe, lists are plain
lines with tabs between the columns."""


def commands_page() -> str:
    """Return the page."""
    top: Any = typer.main.get_command(app)
    single = [
        _command(["posthorn", name], found)
        for name, found in top.commands.items()
        if not _is_group(found)
    ]
    parts = [_ABOUT, EXIT_CODES, "## posthorn", *single]
    for name, found in top.commands.items():
        if _is_group(found):
            parts += [f"## posthorn {name}\n\n{_help(found.help)}"]
            parts += [
                _command(["posthorn", name, inner], each) for inner, each in found.commands.items()
            ]
    return page("Command line", *parts)


def _is_group(found: Any) -> bool:
    return hasattr(found, "commands")


def _command(path: list[str], found: Any) -> str:
    own = [
        each
        for each in found.params
        if each.name not in _EVERYWHERE and not getattr(each, "hidden", False)
    ]
    arguments = [each for each in own if each.param_type_name == "argument"]
    options = [each for each in own if each.param_type_name == "option"]
    usage = " ".join(
        [*path, *(_usage(each) for each in options if each.required), *map(_usage, arguments)]
    )
    if any(not each.required for each in options):
        usage += " [OPTIONS]"
    text = f"### {' '.join(path)}\n\n{_help(found.help)}\n\n```text\n{usage}\n```"
    rows = [(code(_metavar(each)), prose(each.help or "")) for each in arguments]
    rows += [(_flags(each), prose(each.help or "") + _default(each)) for each in options]
    return text + (f"\n\n{table(('argument or option', 'meaning'), rows)}" if rows else "")


def _help(text: str | None) -> str:
    """Return a help text by paragraphs."""
    return "\n\n".join(prose(part) for part in (text or "").split("\n\n"))


def _usage(parameter: Any) -> str:
    shown = _metavar(parameter)
    if parameter.param_type_name == "option":
        return f"{parameter.opts[0]} {shown}"
    shown += "..." if parameter.nargs != 1 else ""
    return shown if parameter.required else f"[{shown}]"


def _metavar(parameter: Any) -> str:
    if parameter.metavar:
        return str(parameter.metavar)
    return str(parameter.name).upper()


def _flags(parameter: Any) -> str:
    names = ", ".join(_names(parameter))
    if parameter.is_flag:
        return names
    choices = getattr(getattr(parameter, "type", None), "choices", None)
    value = (
        "|".join(getattr(each, "value", each) for each in choices)
        if choices
        else _metavar(parameter)
    )
    return f"{names} {code(value)}"


def _names(parameter: Any) -> Iterator[str]:
    yield from (code(name) for name in sorted(parameter.opts, key=len, reverse=True))
    yield from (code(name) for name in parameter.secondary_opts)


def _default(parameter: Any) -> str:
    value = getattr(parameter.default, "value", parameter.default)
    if parameter.required or value in (None, False, True, "", [], ()) or callable(value):
        return ""
    return f" Default: {code(value)}."
