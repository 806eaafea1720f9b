"""The template of local mode: what it holds, and that its copies are processes like others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from posthorn_local.children import Copy, Template
from tests.support.polling import BUSY_SECONDS
from tests.support.system import await_that

_HELD = """
import asyncio, gc, json, os, random, socket, ssl, sys, threading
from posthorn_local.template import SHARED
from posthorn_local.service import load
for name in SHARED:
    load(name)
kinds = (ssl.SSLContext, ssl.SSLObject, socket.socket, asyncio.AbstractEventLoop, random.Random)
held = [each for each in gc.get_objects() if isinstance(each, kinds)
        and not isinstance(each, random.SystemRandom)]
print(json.dumps({
    "threads": len(os.listdir("/proc/self/task")),
    "files": [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if int(n) > 2
              and os.path.exists(f"/proc/self/fd/{n}")],
    "objects": [repr(each) for each in held if each is not random._inst],
}))
"""
_PROGRAM = """
import json, os, random, sys, time
def main():
    words = os.environ["POSTHORN_TASK"].split()
    if words[0] == "tell":
        print(json.dumps({"pid": os.getpid(), "parent": os.getppid(), "session": os.getsid(0),
            "names": sorted(name for name in os.environ if name.startswith("POSTHORN_")),
            "argv": sys.argv, "stdin": os.readlink("/proc/self/fd/0"), "random": random.random(),
            "files": [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
                      if os.path.exists(f"/proc/self/fd/{n}")]}))
    elif words[0] == "wait":
        print("waits", flush=True)
        time.sleep(600)
    elif words[0] == "exit":
        sys.exit(int(words[1]))
    elif words[0] == "refuse":
        raise SystemExit("refusing to start: POSTHORN_TASK")
    raise_here = words[1:] and words[1] == "fail"
    assert not raise_here, "it failed"
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The module of a program that does what its environment says."""
    (tmp_path / "a_program.py").write_text(_PROGRAM)
    (tmp_path / "unloadable.py").write_text("raise RuntimeError('cannot be loaded')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("POSTHORN_SECRET_KEY", "of the supervisor alone")
    return "a_program"


@pytest.fixture
def template() -> Iterator[Template]:
    made = Template()
    yield made
    made.stop()


def _start(template: Template, module: str, log: Path, task: str) -> Copy:
    variables = {name: text for name, text in os.environ.items() if name != "POSTHORN_SECRET_KEY"}
    with log.open("ab") as output:
        return template.copy("tried", module, variables | {"POSTHORN_TASK": task}, output)


def test_it_holds_nothing_that_two_processes_must_not_share() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _HELD], capture_output=True, text=True, check=True
    )
    held = json.loads(done.stdout)
    # uvloop opens /dev/null; Python itself seeds the generator of the module ``random`` in a copy
    assert held == {"threads": 1, "files": [os.devnull], "objects": []}


def test_copies_are_children_of_ours_with_surroundings_of_their_own(
    template: Template, program: str, tmp_path: Path
) -> None:
    found = []
    for number in range(2):
        log = tmp_path / f"{number}.log"
        copy = _start(template, program, log, "tell")
        assert copy.wait(BUSY_SECONDS) == 0, log.read_text()
        told = json.loads(log.read_text())
        assert told["pid"] == told["session"] == copy.pid
        assert told["parent"] == os.getpid()
        assert told["names"] == ["POSTHORN_TASK"]
        assert told["argv"] == ["-c"]
        assert told["stdin"] == os.devnull
        assert [each for each in told["files"] if each != os.devnull] == [str(log), str(log)]
        found.append(told)
    assert found[0]["random"] != found[1]["random"]


@pytest.mark.parametrize(
    ("module", "task", "status", "said"),
    [
        ("a_program", "exit 3", 3, ""),
        ("a_program", "refuse", 1, "refusing to start: POSTHORN_TASK\n"),
        ("a_program", "then fail", 1, "AssertionError: it failed\n"),
        ("unloadable", "", 1, "RuntimeError: cannot be loaded\n"),
        ("there_is_none", "", 1, "ModuleNotFoundError: No module named 'there_is_none'\n"),
    ],
)
def test_a_copy_ends_as_a_process_of_its_own_does(
    template: Template,
    program: str,
    tmp_path: Path,
    module: str,
    task: str,
    status: int,
    said: str,
) -> None:
    log = tmp_path / "a.log"
    assert _start(template, module, log, task).wait(BUSY_SECONDS) == status
    assert log.read_text().endswith(said)
    assert bool(said) == bool(log.read_text())


def test_a_copy_outlives_the_template_and_another_template_follows(
    template: Template, program: str, tmp_path: Path
) -> None:
    copy = _start(template, program, tmp_path / "a.log", "wait")
    await_that("it waits", lambda: "waits" in (tmp_path / "a.log").read_text())
    (former,) = [
        child for child in psutil.Process().children() if child.cmdline()[-1].endswith("# template")
    ]
    former.kill()
    await_that("the template ended", lambda: former.status() == psutil.STATUS_ZOMBIE)
    other = _start(template, program, tmp_path / "b.log", "exit 0")
    assert other.wait(BUSY_SECONDS) == 0
    assert copy.poll() is None
    copy.send_signal(signal.SIGTERM)
    assert copy.wait(BUSY_SECONDS) == -signal.SIGTERM
    copy.kill()  # nobody
    assert copy.poll() == -signal.SIGTERM


def test_ps_shows_the_command_that_does_the_same_and_its_environment(
    template: Template, program: str, tmp_path: Path
) -> None:
    copy = _start(template, program, tmp_path / "a.log", "wait")
    try:
        await_that("it waits", lambda: "waits" in (tmp_path / "a.log").read_text())
        shown = psutil.Process(copy.pid)
        assert shown.cmdline()[-1].endswith("  # tried")
        assert shown.environ()["POSTHORN_TASK"] == "wait"
        assert "ROOM" not in shown.environ()
        again = subprocess.run(
            shown.cmdline(), env=shown.environ() | {"POSTHORN_TASK": "exit 5"}, check=False
        )
        assert again.returncode == 5
    finally:
        copy.kill()
        copy.wait(BUSY_SECONDS)
