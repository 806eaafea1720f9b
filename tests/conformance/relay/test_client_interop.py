"""The relay's SMTP client against Postfix: its smtp-sink in several moods, and its smtpd with
STARTTLS."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from bench.peers import ADDRESS, Postfix, await_port, need

from posthorn_local.embedded import free_port
from posthorn_relay.settings import EgressSettings
from posthorn_relay.smtp.connection import SmtpConnection
from posthorn_relay.smtp.connector import SmtpConnector
from posthorn_relay.smtp.types import Accepted, Failed, MailTransaction, Recipient, RemoteHost, Tls
from tests.support.polling import BUSY_SECONDS
from tests.support.scripted_smtp import Authority

pytestmark = pytest.mark.interop

MESSAGE = b"From: a@x.test\r\nSubject: interop\r\n\r\nText.\r\n.dot\r\n"


@contextmanager
def smtp_sink(*options: str) -> Iterator[int]:
    port = free_port()
    user = ["-u", "postfix"] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        [need("smtp-sink", "postfix"), *user, *options, f"127.0.0.1:{port}", "100"]
    )
    try:
        await_port(port, "smtp-sink")
        yield port
    finally:
        process.terminate()
        process.wait(BUSY_SECONDS)


def connector(authority: Authority | None = None) -> SmtpConnector:
    settings = EgressSettings(
        relay_hostname="out.example.test", relay_end_seconds=5, relay_greeting_seconds=5
    )
    return SmtpConnector(settings, authority.trust if authority else None)


def transaction(*recipients: str, lines: int = 1) -> MailTransaction:
    async def give() -> AsyncGenerator[bytes]:
        for _ in range(lines):
            yield MESSAGE

    return MailTransaction(
        "a@x.test",
        [Recipient(one) for one in recipients],
        len(MESSAGE) * lines,
        give,
        True,
        False,
        False,
    )


@pytest.mark.parametrize("options", [(), ("-p",), ("-e",), ("-8",), ("-a",)])
async def test_smtp_sink_takes_messages(options: tuple[str, ...]) -> None:
    with smtp_sink(*options) as port:
        connection = await connector().connect(RemoteHost("sink", "127.0.0.1", port))
        for lines in (1, 1, 5000):
            results = await connection.send(transaction("b@y.test", "c@y.test", lines=lines))
            assert [type(result) for result in results] == [Accepted, Accepted]
        await connection.close()


async def test_smtp_sink_without_8bitmime_takes_what_was_converted() -> None:
    async def give() -> AsyncGenerator[bytes]:
        yield MESSAGE + "Grüße, so viele wie man nur senden kann.\r\n".encode()

    with tempfile.TemporaryDirectory(prefix="sink-") as directory:
        Path(directory).chmod(0o777)  # the sink is another user's
        with smtp_sink("-8", "-D", f"{directory}/%M.") as port:
            connection = await connector().connect(RemoteHost("sink", "127.0.0.1", port))
            (result,) = await connection.send(
                replace(transaction("b@y.test"), content=give, size=100, eight_bit=True)
            )
            assert isinstance(result, Accepted)
            await connection.close()
        (file,) = Path(directory).iterdir()
        taken = file.read_bytes()
    assert taken.isascii()
    assert b"Gr=C3=BC=C3=9Fe" in taken


@pytest.mark.parametrize("option", ["-f", "-r", "-q", "-Q"])
@pytest.mark.parametrize(
    ("command", "stage"), [("mail", "mail"), ("rcpt", "rcpt"), ("data", "data"), (".", "end")]
)
async def test_smtp_sink_refuses_or_hangs_up(option: str, command: str, stage: str) -> None:
    with smtp_sink(option, command) as port:
        connection = await connector().connect(RemoteHost("sink", "127.0.0.1", port))
        (result,) = await connection.send(transaction("b@y.test"))
        assert isinstance(result, Failed)
        assert result.stage == stage
        assert result.permanent is (option == "-f")
        assert connection.usable is (option in ("-f", "-r"))
        await connection.close()


@pytest.fixture(scope="module")
def postfix() -> Iterator[tuple[Postfix, Authority]]:
    """Postfix runs parts of itself as other users, so its directory must be open to them."""
    directory = Path(tempfile.mkdtemp(prefix="postfix-"))
    directory.chmod(0o755)
    authority = Authority(directory)
    authority.issue("mx.bench.test")
    (pem,) = directory.glob("*.pem")
    server = Postfix(directory / "run")
    try:
        server.start()
        config = str(directory / "run" / "postfix")
        for setting in ("smtpd_tls_security_level = may", f"smtpd_tls_chain_files = {pem}"):
            subprocess.run(["postconf", "-c", config, "-e", setting], check=True)
        subprocess.run(
            ["postconf", "-c", config, "-Me", "tlsmgr/unix=tlsmgr unix - - n 1000? 1 tlsmgr"],
            check=True,
        )
        subprocess.run(["postfix", "-c", config, "reload"], capture_output=True, check=True)
        yield server, authority
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


async def opened(authority: Authority, remote: RemoteHost) -> SmtpConnection:
    """A connection; right after its reload Postfix may still serve one without STARTTLS."""
    while True:
        try:
            connection = await connector(authority).connect(remote)
        except Failed:
            await asyncio.sleep(0.05)
            continue
        if connection.tls or remote.tls is Tls.NONE:
            return connection
        await connection.close()


@pytest.mark.parametrize("tls", [Tls.NONE, Tls.OPPORTUNISTIC, Tls.VERIFIED])
async def test_postfix_takes_messages(postfix: tuple[Postfix, Authority], tls: Tls) -> None:
    server, authority = postfix
    before = await asyncio.to_thread(server.delivered)
    remote = RemoteHost("mx.bench.test", "127.0.0.1", server.port, tls)
    async with asyncio.timeout(BUSY_SECONDS):
        connection = await opened(authority, remote)
        for lines in (1, 5000):
            first, second = await connection.send(
                transaction(ADDRESS, "b@elsewhere.test", lines=lines)
            )
            assert isinstance(first, Accepted)
            assert bool(first.tls) is (tls is not Tls.NONE)
            assert isinstance(second, Failed)
            assert (second.stage, second.code, second.status[:3]) == ("rcpt", 554, "5.7")
        await connection.close()
        while await asyncio.to_thread(server.delivered) < before + 2:
            await asyncio.sleep(0.05)
    messages = [path.read_bytes() for path in (server.maildir / "new").iterdir()]
    once = MESSAGE.replace(b"\r\n", b"\n")  # Postfix puts fields into the first one's header
    assert any(message.endswith(b"\n\nText.\n.dot\n" + once * 4999) for message in messages)
