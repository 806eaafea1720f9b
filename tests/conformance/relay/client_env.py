"""Builders for tests of the SMTP client: connector, remote host, mail transaction, and what a
result says."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import pytest

from posthorn.ports.resolver import Tlsa
from posthorn_relay.settings import EgressSettings
from posthorn_relay.smtp.connector import SmtpConnector
from posthorn_relay.smtp.types import (
    Failed,
    MailTransaction,
    Recipient,
    RemoteHost,
    SmtpResult,
    Tls,
)
from tests.support.scripted_smtp import FULL, ScriptedSmtp

MESSAGE = b"Subject: hello\r\n\r\nText.\r\n"
WITH_TLS = FULL.replace(b"250-DSN\r\n", b"250-DSN\r\n250-STARTTLS\r\n")
HOST = "mx.scripted.test"
QUICK: dict[str, Any] = {
    "relay_greeting_seconds": 1.0,
    "relay_data_seconds": 1.0,
    "relay_end_seconds": 1.0,
    "relay_block_seconds": 1.0,
    "relay_connect_seconds": 1.0,
}


def connector(trust: Callable[[], ssl.SSLContext] | None = None, **settings: Any) -> SmtpConnector:
    return SmtpConnector(
        EgressSettings.model_validate({"relay_hostname": "out.example.test", **settings}), trust
    )


def remote(port: int, tls: Tls = Tls.OPPORTUNISTIC, **more: object) -> RemoteHost:
    return RemoteHost(HOST, "127.0.0.1", port, tls, **more)  # type: ignore[arg-type]


def transaction(
    *recipients: str | Recipient, content: Sequence[bytes] = (MESSAGE,), size: int | None = None, sender: str = "a@x.test",
    dots: bool = False, eight_bit: bool = False, smtputf8: bool = False, ret: str = "", envid: str = "",
) -> MailTransaction:  # fmt: skip
    async def content_of() -> AsyncGenerator[bytes]:
        for piece in content:
            yield piece

    given = [
        one if isinstance(one, Recipient) else Recipient(one) for one in recipients or ("b@y.test",)
    ]
    octets = sum(map(len, content)) if size is None else size
    return MailTransaction(sender, given, octets, content_of, dots, eight_bit, smtputf8, ret, envid)


async def post(
    server: ScriptedSmtp, what: MailTransaction, at: RemoteHost | None = None, **settings: Any
) -> Sequence[SmtpResult]:
    """Send one transaction by a connection of its own; return its results."""
    connection = await connector(**settings).connect(at or remote(server.port))
    results = await connection.send(what)
    await connection.close()
    assert len(results) == len(what.recipients)
    return results


async def refusal(at: RemoteHost, **settings: Any) -> Failed:
    trust = settings.pop("trust", None)
    with pytest.raises(Failed) as caught:
        await connector(trust, **settings).connect(at)
    assert caught.value.is_about_host
    return caught.value


def failure_of(result: SmtpResult) -> tuple[str, int, str, bool]:
    assert isinstance(result, Failed)
    return result.stage, result.code, result.status, result.permanent


def without(*keywords: bytes) -> bytes:
    """Return the full EHLO reply without some keywords."""
    lines = [line for line in FULL.splitlines() if not any(word in line for word in keywords)]
    return b"".join(
        line[:3] + (b" " if line is lines[-1] else b"-") + line[4:] + b"\r\n" for line in lines
    )


def tlsa(usage: int, selector: int, matching: int, octets: bytes) -> Tlsa:
    data = (
        octets
        if matching == 0
        else hashlib.new({1: "sha256", 2: "sha512"}[matching], octets).digest()
    )
    return Tlsa(usage, selector, matching, data)
