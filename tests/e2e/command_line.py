"""The command `posthorn` as a shell runs it, but in this process: a second for each start would
be most of the tests' time."""

from __future__ import annotations

import io
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import typer.main

from posthorn_cli.app import app
from posthorn_cli.main import main
from tests.support.system import System


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command came to."""

    line: str
    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON that it printed."""
        return json.loads(self.out)

    @property
    def documents(self) -> list[Any]:
        """The JSON that it printed on each line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def rows(self) -> list[list[str]]:
        """The columns of each line."""
        return [line.split("\t") for line in self.out.splitlines()]


@dataclass
class CommandLine:
    """A person's shell: an environment and a home."""

    environment: Mapping[str, str]
    used: set[str] = field(default_factory=set)
    """The commands that were run."""

    def attempt(self, line: str, stdin: str = "") -> Ran:
        """Run a command."""
        words = shlex.split(line)
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        status = 0
        with (
            patch.dict(os.environ, self.environment, clear=True),
            patch.object(sys, "argv", ["posthorn", *words]),
            patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8")),
            patch.object(sys, "stdout", out),
            patch.object(sys, "stderr", err),
            patch.object(typer.main, "get_command", whole_command),
        ):
            try:
                main()
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        self.used.update(
            name
            for name in leaves()
            if words[: len(name.split())] == name.split() and "--help" not in words
        )
        texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
        return Ran(line, status, *texts)

    def run(self, line: str, stdin: str = "") -> Ran:
        """Run a command that must succeed."""
        ran = self.attempt(line, stdin)
        assert ran.status == 0, f"posthorn {line}: {ran.status}\n{ran.out}{ran.err}"
        assert "Traceback" not in ran.err
        return ran


whole_command = cache(typer.main.get_command)
"""Made once of the functions of all commands, which is most of what a short one costs."""


@cache
def leaves() -> frozenset[str]:
    """Every command, by its words."""
    return frozenset(_below(whole_command(app), ""))


def _below(command: Any, words: str) -> Iterator[str]:
    if not hasattr(command, "commands"):
        yield words
        return
    for name, each in command.commands.items():
        yield from _below(each, f"{words} {name}".strip())


def beside(system: System, home: Path) -> CommandLine:
    """A shell that knows of the local mode as a person's does who has just started it."""
    return CommandLine(
        {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "POSTHORN_HOME": str(system.home),
            "POSTHORN_API_PORT": str(system.ports["API"]),
        }
    )
