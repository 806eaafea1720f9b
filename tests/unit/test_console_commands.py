"""The command lines that the console offers to copy exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from posthorn_cli.app import app

WEB = Path(__file__).parents[2] / "services/console/web/src"
OFFERED = {
    (source.name, match)
    for source in WEB.rglob("*.tsx")
    for match in re.findall(r"[`\"](posthorn(?: [a-z][a-z-]*)+)", source.read_text())
    if match != "posthorn command"
}


def exists(words: list[str]) -> bool:
    """Whether the words lead to a command; what follows a command is its argument."""
    command = typer.main.get_command(app)
    for word in words:
        found = getattr(command, "commands", {}).get(word)
        if found is None:
            break
        command = found
    return not hasattr(command, "commands")


@pytest.mark.parametrize(("source", "line"), sorted(OFFERED))
def test_an_offered_command_line_exists(source: str, line: str) -> None:
    assert exists(line.split()[1:]), f"{source} offers {line}"


def test_something_is_offered_and_what_does_not_exist_is_seen() -> None:
    assert len(OFFERED) > 5
    assert not exists(["domains", "list"])
