"""Command lines of `posthorn` in the documentation name commands, arguments and options that there
are. Those of blocks that are run are in tests/e2e/test_docs_commands.py too."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from posthorn_cli.app import app

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^ *```sh(?: run)?\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(posthorn [a-z][^`\n]*)`")
_PLACEHOLDER = {"ID": "0198c1d2-7a3b-7c4d-8e5f-000000000001", "DELIVERY": "7"}


def _lines(page: Path) -> list[str]:
    text = page.read_text()
    shell = "\n".join(BLOCK.findall(text)).replace("\\\n", " ")
    return [line.strip() for line in shell.splitlines() if line.strip().startswith("posthorn ")]


LINES = sorted(
    {
        (str(page.relative_to(ROOT)), line)
        for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
        if "reference" not in page.parts
        for line in _lines(page)
    }
)

NAMED = sorted(
    {
        (str(page.relative_to(ROOT)), line)
        for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
        for line in INLINE.findall(BLOCK.sub("", page.read_text()))
    }
)


def _words(line: str) -> list[str]:
    """The arguments of the command, without comment, pipe and redirection."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    found: list[str] = []
    for word in words:
        if re.fullmatch(r"[|&;<>()]+", word):
            break
        found.append(_PLACEHOLDER.get(word, word.replace("…", "7a3b-7c4d-8e5f-000000000001")))
    return found[1:]


@cache
def _program() -> Any:
    return get_command(app)


def test_there_are_lines() -> None:
    assert len(LINES) > 50
    assert len(NAMED) > 50


@pytest.mark.parametrize(("page", "line"), LINES)
def test_a_command_line_is_one_that_the_program_takes(page: str, line: str) -> None:
    command, words, context = _program(), _words(line), None
    while True:
        context = command.make_context(command.name, list(words), parent=context)
        if not hasattr(command, "resolve_command"):
            return
        words = [*context._protected_args, *context.args]
        _, command, words = command.resolve_command(context, words)


def test_commands_and_options_that_are_named_in_the_text_are_there() -> None:
    strange = []
    for page, line in NAMED:
        command = _program()
        for word in line.split()[1:]:
            if word.startswith("--"):
                options = {
                    name for each in command.params for name in (*each.opts, *each.secondary_opts)
                }
                if word.partition("=")[0] not in options | {"--help"}:
                    strange.append(f"{page}: {line}: {word}")
            elif hasattr(command, "commands"):
                if word not in command.commands:
                    strange.append(f"{page}: {line}: {word}")
                    break
                command = command.commands[word]
    assert strange == []
