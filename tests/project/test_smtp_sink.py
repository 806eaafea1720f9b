"""The server that the documentation proposes for a first message out starts as it is written
there."""

from __future__ import annotations

import os
import re
import shlex
import smtplib
import subprocess

import pytest
from bench.peers import await_port, need
from deploy.release import ROOT

from posthorn_local.embedded import free_port
from tests.support.polling import BUSY_SECONDS

pytestmark = pytest.mark.interop


def commands() -> set[str]:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    return {
        found for page in pages for found in re.findall(r"smtp-sink -[^`\n]+", page.read_text())
    }


def test_a_message_reaches_the_documented_smtp_sink() -> None:
    root = os.geteuid() == 0
    mine = {each for each in commands() if (" -u " in each) == root}
    assert mine, f"no command for {'root' if root else 'people who are not root'}"
    for command in mine:
        port = free_port()
        _, *options = shlex.split(re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", command))
        process = subprocess.Popen(
            [need("smtp-sink", "postfix"), *options], stdout=subprocess.DEVNULL
        )
        try:
            await_port(port, "smtp-sink")
            with smtplib.SMTP("127.0.0.1", port, local_hostname="localhost", timeout=30) as session:
                assert (
                    session.sendmail(
                        "a@example.test", ["b@sink.test"], "Subject: one\r\n\r\nText.\r\n"
                    )
                    == {}
                )
            assert process.poll() is None
        finally:
            process.kill()
            process.wait(BUSY_SECONDS)
