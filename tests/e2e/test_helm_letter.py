"""The script that ``helm test`` runs in the cluster, against a system that is here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.system import System

SCRIPT = Path(__file__).parents[2] / "deploy" / "helm" / "posthorn" / "files" / "message.py"


def run(system: System, **changed: str) -> subprocess.CompletedProcess[str]:
    """Run it as the pod would; the chart's tests see to the variables' names."""
    environment = {
        "API_URL": f"http://127.0.0.1:{system.ports['API']}",
        "API_KEY": system.key,
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(system.ports["SMTP"]),
        "IMAP_HOST": "127.0.0.1",
        "IMAPS_PORT": str(system.ports["IMAPS"]),
        "POP3_HOST": "127.0.0.1",
        "POP3S_PORT": str(system.ports["POP3S"]),
        "CERTIFICATE": str(system.home / "tls" / "tls.crt"),
        "TEST_DOMAIN": "helm-test.example",
        "TEST_SECONDS": "90",
    }
    return subprocess.run(
        [sys.executable, "-u", SCRIPT],
        env=environment | changed,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def test_a_message_goes_in_and_comes_out_and_nothing_is_left(system: System) -> None:
    ended = run(system)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "the same bytes were read by IMAP" in ended.stdout
    assert "the same bytes were read by POP3" in ended.stdout
    assert system.api.get("/v1/domains/helm-test.example").status_code == 404
    assert run(system).returncode == 0  # and again


def test_it_fails_when_mail_does_not_arrive(system: System) -> None:
    # the message goes to another port: nobody hears it
    ended = run(system, SMTP_PORT="1", TEST_SECONDS="1")
    assert ended.returncode != 0
    assert "gave up" in ended.stderr
    assert system.api.get("/v1/domains/helm-test.example").status_code == 404


def test_it_fails_on_another_certificate(system: System, tmp_path: Path) -> None:
    another = tmp_path / "tls.crt"
    text = (system.home / "tls" / "tls.crt").read_text()
    another.write_text(re.sub(r"\n[A-Za-z0-9+/]{10}", "\nMIIBAAAAAA", text, count=1))
    ended = run(system, CERTIFICATE=str(another))
    assert ended.returncode != 0
    assert "another certificate" in ended.stderr
