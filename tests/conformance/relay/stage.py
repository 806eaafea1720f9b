"""The relay's client on a stage: parcels, hops, and what came of them."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from posthorn.ports.resolver import Tlsa
from posthorn_relay.client import SmtpConnector
from posthorn_relay.settings import EgressSettings
from posthorn_relay.transport import Failed, Hop, Parcel, Tls, To, Verdict
from tests.support.scripted_smtp import FULL, ScriptedSmtp

LETTER = b"Subject: hello\r\n\r\nText.\r\n"
WITH_TLS = FULL.replace(b"250-DSN\r\n", b"250-DSN\r\n250-STARTTLS\r\n")
HOST = "mx.scripted.test"
QUICK: dict[str, Any] = {
    "relay_greeting_seconds": 0.4,
    "relay_data_seconds": 0.4,
    "relay_end_seconds": 0.4,
    "relay_block_seconds": 0.4,
    "relay_connect_seconds": 0.4,
}


def connector(trust: Callable[[], ssl.SSLContext] | None = None, **settings: Any) -> SmtpConnector:
    return SmtpConnector(EgressSettings.model_validate({"relay_hostname": "out.example.test", **settings}), trust)


def hop(port: int, tls: Tls = Tls.OPPORTUNISTIC, **more: object) -> Hop:
    return Hop(HOST, "127.0.0.1", port, tls, **more)  # type: ignore[arg-type]


def parcel(
    *recipients: str | To, content: Sequence[bytes] = (LETTER,), size: int | None = None, sender: str = "a@x.test",
    dots: bool = False, eight_bit: bool = False, smtputf8: bool = False, ret: str = "", envid: str = "",
) -> Parcel:  # fmt: skip
    async def give() -> AsyncIterator[bytes]:
        for piece in content:
            yield piece

    tos = [one if isinstance(one, To) else To(one) for one in recipients or ("b@y.test",)]
    octets = sum(map(len, content)) if size is None else size
    return Parcel(sender, tos, octets, give, dots, eight_bit, smtputf8, ret, envid)


async def post(server: ScriptedSmtp, what: Parcel, at: Hop | None = None, **settings: Any) -> Sequence[Verdict]:
    """Send one parcel by one connection."""
    connection = await connector(**settings).connect(at or hop(server.port))
    verdicts = await connection.send(what)
    await connection.close()
    assert len(verdicts) == len(what.recipients)
    return verdicts


async def refusal(at: Hop, **settings: Any) -> Failed:
    trust = settings.pop("trust", None)
    with pytest.raises(Failed) as caught:
        await connector(trust, **settings).connect(at)
    assert caught.value.is_hosts
    return caught.value


def told(verdict: Verdict) -> tuple[str, int, str, bool]:
    assert isinstance(verdict, Failed)
    return verdict.stage, verdict.code, verdict.status, verdict.permanent


def without(*keywords: bytes) -> bytes:
    """The full answer to EHLO less some keywords."""
    lines = [line for line in FULL.splitlines() if not any(word in line for word in keywords)]
    return b"".join(line[:3] + (b" " if line is lines[-1] else b"-") + line[4:] + b"\r\n" for line in lines)


def tlsa(usage: int, selector: int, matching: int, octets: bytes) -> Tlsa:
    data = octets if matching == 0 else hashlib.new({1: "sha256", 2: "sha512"}[matching], octets).digest()
    return Tlsa(usage, selector, matching, data)
