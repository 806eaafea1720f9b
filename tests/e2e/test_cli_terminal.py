"""`posthorn` on a terminal: what it asks, what it does not show, tables, bars, completion."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from tests.e2e.command_line import CommandLine, beside
from tests.support.polling import BUSY_SECONDS
from tests.support.system import System

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
PROGRAM = str(Path(sys.executable).with_name("posthorn"))


@pytest.fixture
def shell(system: System, tmp_path: Path) -> CommandLine:
    return beside(system, tmp_path)


def on_terminal(
    shell: CommandLine, words: Sequence[str], answers: Sequence[tuple[str, str]] = ()
) -> tuple[int, str]:
    """Run it on a terminal, and type each answer once what it answers is there. Return status
    and all that was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, *words],
        env={**shell.environment, "TERM": "xterm", "COLUMNS": "160"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    shown, seen, waiting = "", 0, list(answers)
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 1)[0]:
                continue
            try:
                octets = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            if not octets:
                break
            shown += octets.decode(errors="replace")
            if waiting and waiting[0][0] in shown[seen:]:
                seen = len(shown)
                os.write(ours, waiting.pop(0)[1].encode() + b"\n")
        assert not waiting, shown
        return process.wait(BUSY_SECONDS), shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_password_is_asked_for_twice_and_never_shown(shell: CommandLine, system: System) -> None:
    address = f"t{uuid4().hex[:8]}@example.test"
    secret = "a hidden passphrase"
    status, shown = on_terminal(
        shell, ["account", "create", address], [("Password: ", secret), ("Once more: ", secret)]
    )
    assert status == 0, shown
    assert address in shown
    assert secret not in shown
    assert system.maildrop(address, secret).read() == []
    status, shown = on_terminal(
        shell,
        ["account", "password", address],
        [("Password: ", secret), ("Once more: ", "another")],
    )
    assert status == 1
    assert "not the same" in shown


def test_a_deletion_is_asked_for(shell: CommandLine) -> None:
    name = f"t{uuid4().hex[:8]}.example"
    shell.run(f"domain create {name}")
    status, shown = on_terminal(
        shell, ["domain", "delete", name], [(f"Delete the domain {name}?", "n")]
    )
    assert (status, "not done" in shown) == (1, True)
    assert shell.run(f"domain show {name}")
    assert (
        on_terminal(shell, ["domain", "delete", name], [(f"Delete the domain {name}?", "y")])[0]
        == 0
    )
    assert shell.attempt(f"domain show {name}").status == 3


def test_lists_are_tables_with_headings(shell: CommandLine) -> None:
    status, shown = on_terminal(shell, ["account", "list", "--domain", "example.test"])
    assert status == 0
    assert "\x1b[" in shown
    assert re.search(r"ADDRESS +STATE +USED +QUOTA", _COLOUR.sub("", shown))
    assert "alice@example.test" in shown
    shell.environment = {**shell.environment, "NO_COLOR": "1"}
    assert "\x1b[32m" not in on_terminal(shell, ["account", "list", "--domain", "example.test"])[1]


def test_an_import_shows_a_bar_and_what_failed(shell: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "aliases.ndjson"
    name = uuid4().hex[:8]
    lines = [
        f'{{"address": "{name}{n}@example.test", "targets": ["alice@example.test"]}}\n'
        for n in range(20)
    ]
    file.write_text("".join([*lines, "rubbish\n"]))
    status, shown = on_terminal(shell, ["import", "aliases", str(file)])
    assert status == 1
    assert "21/21" in shown
    assert f"{name}0@example.test" not in shown
    assert "failed" in shown
    assert "20 created, 0 unchanged, 1 failed" in shown


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("posthorn ten", "tenant"),
        ("posthorn tenant cr", "create"),
        ("posthorn tenant set acme --sta", "--state"),
    ],
)
def test_the_shell_completes_what_is_typed(shell: CommandLine, typed: str, offered: str) -> None:
    words = typed.split()
    environment = {
        **shell.environment,
        "_POSTHORN_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run([PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert offered in done.stdout.split()


def test_options_of_all_commands_stand_before_or_after(shell: CommandLine) -> None:
    before, after = (
        shell.run("--json domain show example.test"),
        shell.run("domain show example.test --json"),
    )
    assert before.document == after.document
    assert shell.attempt("--context nowhere domain list").status == 2
    assert shell.run("--context local domain show example.test --json").document == before.document
