"""The system of docker-compose.yml as a person has it after a clone: secrets by init.sh, ``docker
compose up --wait``.

Stand-ins take the place of the images of Postgres, NATS and Garage; everything else is as it is
shipped. It is used as ``tests.support.system.System`` is, so that the same load and the same
account of it serve both.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx

from tests.containers.docker import ROOT, Docker
from tests.support.maildrop import Maildrop
from tests.support.system import System, await_that

STANDINS = Path(__file__).with_name("standins") / "compose.yml"
PARTS = ("smtp-in", "submission", "delivery", "scan", "relay", "pop3", "imap", "api")
STORES = ("postgres", "nats", "s3")
PROJECT = "posthorn-tests"


class TlsMaildrop(Maildrop):
    """A maildrop read by POP3 over TLS: no password is taken without it from another host."""

    def __init__(self, port: int, address: str, password: str, trusted: Path) -> None:
        super().__init__(port, address, password)
        self._trusted = trusted

    def connect(self) -> socket.socket:
        plain = super().connect()
        try:
            return ssl.create_default_context(cafile=str(self._trusted)).wrap_socket(
                plain, server_hostname="localhost"
            )
        except BaseException:
            plain.close()
            raise


class ComposedSystem(System):
    """docker-compose.yml in ``folder``, as from a clone, with the ports published on free ones
    of 127.0.0.1."""

    def __init__(self, docker: Docker, folder: Path) -> None:
        super().__init__(folder)
        self.docker = docker
        self.folder = folder
        self.tls = folder / "deploy" / "compose" / "private" / "tls"
        self._environment = {
            f"POSTHORN_{name}_PORT": str(port) for name, port in self.ports.items()
        }

    # ---- life

    def clone(self) -> None:
        """Lay out what a clone has of it, and make the secrets."""
        (self.folder / "deploy").mkdir(parents=True)
        shutil.copy(ROOT / "docker-compose.yml", self.folder)
        shutil.copytree(
            ROOT / "deploy" / "compose", self.folder / "deploy" / "compose", ignore=_not_private
        )
        subprocess.run(
            [str(self.folder / "deploy/compose/init.sh"), "mail.example.test"],
            check=True,
            capture_output=True,
        )
        # Swift's keys have a colon in them, Garage's have not
        lines = (self.folder / ".env").read_text().splitlines()
        kept = [line for line in lines if not line.startswith("S3_ACCESS_KEY=")]
        (self.folder / ".env").write_text("\n".join([*kept, "S3_ACCESS_KEY=posthorn:posthorn", ""]))

    def compose(self, *arguments: str) -> str:
        """Run ``docker compose`` on it. Return its output."""
        files = [
            "-p",
            PROJECT,
            "-f",
            "docker-compose.yml",
            "-f",
            "deploy/compose/balanced.yml",
            "-f",
            str(STANDINS),
        ]
        return self.docker.said(
            "compose", *files, *arguments, folder=self.folder, environment=self._environment
        )

    def up(self, *, inbound: int = 3) -> None:
        """Start it with so many smtp-in. Return when everything is healthy."""
        try:
            self.compose(
                "up",
                "--wait",
                "--wait-timeout",
                "120",
                "--no-build",
                "--scale",
                f"smtp-in={inbound}",
            )
        except Exception as error:
            raise AssertionError(f"{error}\n{self.logs()[-6000:]}") from None

    def down(self) -> None:
        """Remove it, with its data."""
        self._forget_client()
        self.compose("kill")
        self.compose("down", "--volumes", "--remove-orphans")

    def logs(self, *parts: str) -> str:
        """What the containers said."""
        return self.compose("logs", "--no-color", *parts)

    # ---- containers

    def containers(self, part: str) -> list[str]:
        """The ids of a part's containers."""
        return self.compose("ps", "-q", part).split()

    def crash(self, part: str) -> None:
        """End one container of the part as a crash does, and wait until it was started again."""
        container = self.containers(part)[0]
        before = self.docker.seen(container)["State"]
        os.kill(before["Pid"], signal.SIGKILL)
        await_that(
            f"{part} was started again",
            lambda: self._restarted(container, before["StartedAt"]),
            timeout=30,
        )

    def _restarted(self, container: str, since: str) -> bool:
        state = self.docker.seen(container)["State"]
        return bool(state["Running"] and state["StartedAt"] != since)

    def address(self, container: str, network: str) -> str:
        """A container's address on a network of the compose file."""
        found: str = self.docker.seen(container)["NetworkSettings"]["Networks"][
            f"{PROJECT}_{network}"
        ]["IPAddress"]
        assert found
        return found

    def told(self, container: str, program: str) -> str:
        """What a Python program prints that is run inside a container."""
        return self.docker.said("exec", container, "python", "-c", program)

    def healthy(self, container: str) -> bool:
        """Return whether the container's health check says so."""
        return bool(self.docker.seen(container)["State"]["Health"]["Status"] == "healthy")

    def await_whole(self, timeout: float = 60.0) -> None:
        """Wait until every container is healthy."""
        ids = self.compose("ps", "-q", *PARTS, *STORES, "balancer").split()
        await_that(
            "all are healthy", lambda: all(self.healthy(one) for one in ids), timeout, pause=0.3
        )

    def pause(self, *parts: str) -> None:
        """Freeze: connections stay, nothing is answered."""
        self.compose("pause", *parts)

    def resume(self, *parts: str) -> None:
        """Go on."""
        self.compose("unpause", *parts)

    # ---- what a person uses

    @property
    def key(self) -> str:
        """The admin key, from .env."""
        lines = (self.folder / ".env").read_text().splitlines()
        return next(
            line.partition("=")[2] for line in lines if line.startswith("POSTHORN_API_ADMIN_KEY=")
        )

    def maildrop(self, address: str, password: str | None = None) -> Maildrop:
        """The maildrop of an account, over POP3 with TLS."""
        assert password
        return TlsMaildrop(self.ports["POP3S"], address, password, self.tls / "tls.crt")

    def trusting(self) -> ssl.SSLContext:
        """A client context that trusts nothing but the certificate in use."""
        return ssl.create_default_context(cafile=str(self.tls / "tls.crt"))

    def submit(self, account: Maildrop, message: EmailMessage) -> None:
        """Hand a message in as a mail client does."""
        with smtplib.SMTP("localhost", self.ports["SUBMISSION"], timeout=30) as client:
            client.starttls(context=self.trusting())
            client.login(account.address, account.password)
            refused = client.send_message(message)
        assert not refused, refused

    def sunk(self) -> list[dict[str, Any]]:
        """What the mail server elsewhere has taken."""
        lines = self.compose("logs", "--no-color", "--no-log-prefix", "sink").splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [one | {"content": base64.b64decode(one["content"])} for one in found]

    def serves(self, service: str) -> bool:
        """Return whether every container of the service is healthy."""
        return all(self.healthy(container) for container in self.containers(service))

    def page(self, service: str, path: str) -> httpx.Response:
        """Not published: the health ports stay inside."""
        raise NotImplementedError("health ports are not published")


def _not_private(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "private"]
