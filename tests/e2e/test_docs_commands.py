"""The commands of the documentation, run as they stand there against a running local mode.

A block whose fence says ``sh run`` is run; the blocks of one page are one script, in order, in an
empty directory that has the home of the system as ``.posthorn`` and the environment as ``.venv``.
Only ports are replaced, for those of the documentation may be in use. A command that fails ends the
page, and so does an answer of HTTP that is no success.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthorn_local.embedded import free_port
from tests.support.service_process import environment
from tests.support.system import System, await_that

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"^```sh run\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = sorted(
    str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md") if BLOCK.search(path.read_text())
)
PROLOGUE = """\
set -euo pipefail
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
curl() { command curl --fail-with-body "$@"; }
"""
DOCUMENTED = {
    "SMTP": 2525,
    "SUBMISSION": 2587,
    "SUBMISSIONS": 2465,
    "IMAP": 2143,
    "IMAPS": 2993,
    "POP3": 2110,
    "POP3S": 2995,
    "API": 8080,
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system for these pages alone: they take names of accounts and domains as they like."""
    directory = tmp_path_factory.mktemp("docs")
    running = System(directory / "home")
    running.start()
    yield running
    running.close()


def script(page: str, ports: dict[int, int]) -> str:
    """The commands of a page, with other ports."""
    text = "".join(BLOCK.findall((DOCS / page).read_text()))

    def other(found: re.Match[str]) -> str:
        return f"{found[1]}:{ports[int(found[2])]}"

    return PROLOGUE + re.sub(r"(127\.0\.0\.1|localhost|\"port\"): ?(\d+)", other, text)


def run(page: str, system: System, directory: Path) -> str:
    """Run the commands of a page; returns what they printed."""
    (directory / ".posthorn").symlink_to(system.home)
    (directory / ".venv").symlink_to(sys.prefix)
    ports = {number: system.ports[name] for name, number in DOCUMENTED.items()} | {
        2526: free_port()
    }
    variables = environment(API_PORT=str(system.ports["API"]))
    variables |= {
        "PATH": f"{Path(sys.prefix) / 'bin'}:{variables['PATH']}",
        "XDG_CONFIG_HOME": str(directory / "config"),
    }
    done = subprocess.run(
        ["bash", "-c", script(page, ports)],
        cwd=directory,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, f"{page}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


EXPECTED = {
    "getting-started/tour.md": [
        "Hello, Carol.",
        "v=spf1",
        "v=DKIM1",
        "recipients=bob@example.test",
    ],
    "how-to/migrate.md": ["1 imported", "0 imported", "2 imported", "Kept", "support@old.test"],
    "how-to/send.md": ['"recipients":["bob@example.test"]'],
    "how-to/gitops.md": ["ann@acme.test", "sales@acme.test"],
}
"""What the commands of a page print, among other things."""


def test_pages_with_commands_are_known() -> None:
    assert sorted(EXPECTED) == PAGES


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_do_what_it_says(own: System, tmp_path: Path, page: str) -> None:
    printed = run(page, own, tmp_path)
    for text in EXPECTED[page]:
        assert text in printed, printed
    if page == "getting-started/tour.md":
        await_that(
            "the message out", lambda: own.api.get("/v1/queue?domain=sink.test").json()["items"]
        )
