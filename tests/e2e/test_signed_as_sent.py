"""What is signed is what travels: signatures hold at every host, whatever it offers, or there
are none (RFC 6376 §5.3)."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import itertools
import smtplib
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack

import dkim
import pytest

from posthorn.adapters.dkim import KEYS_SECONDS
from tests.conformance.relay.client_env import without
from tests.support.maildrop import Maildrop
from tests.support.scripted_smtp import FULL, ScriptedSmtp
from tests.support.system import System, await_that

type NewAccount = Callable[[], Maildrop]
type Keys = dict[bytes, bytes]

HOSTS = {
    "full": FULL,
    "eight-bit-alone": without(b"SMTPUTF8", b"CHUNKING"),
    "seven-bit": without(b"8BITMIME", b"SMTPUTF8", b"CHUNKING"),
    "seven-bit-bdat": without(b"8BITMIME", b"SMTPUTF8"),
    "bare": b"250 scripted.test\r\n",
}
MIME = b"MIME-Version: 1.0\r\n"
TEXT = MIME + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
UMLAUTS = "Grüße aus Köln, über alle Länder.\r\n".encode()
HTML = b"<p>" + b"word " * 900 + b"</p>"
MESSAGES = {
    "ASCII": b"Subject: plain\r\n\r\n.a dot\r\ntext\r\n",
    "8-bit text": TEXT + b"Subject: text of 8 bits\r\n\r\n" + UMLAUTS,
    "Latin-1": TEXT.replace(b"utf-8", b"iso-8859-1") + b"\r\nM\xfcde\r\n",
    "8-bit text without MIME": b"\r\n" + UMLAUTS,
    "a line of 4,500 octets": MIME + b"Content-Type: text/html; charset=utf-8\r\n\r\n" + HTML + b"\r\n",
    "a long line without MIME": b"Subject: x\r\n\r\n" + b"x" * 999 + b"\r\n",
    "a long line of 8 bits": TEXT + b"\r\n" + UMLAUTS.strip() * 60 + b"\r\n",
    "998 octets exactly": b"Subject: x\r\n\r\n" + b"x" * 998 + b"\r\n",
    "folded References": b"References: " + b"\r\n ".join(b"<%d.%s@example.test>" % (n, b"x" * 40) for n in range(40))
    + b"\r\n\r\ntext\r\n",
    "long References": b"References: " + b" ".join(b"<%d.%s@example.test>" % (n, b"x" * 40) for n in range(40))
    + b"\r\n\r\ntext\r\n",
    "a token of 2,000 octets": b"X-Link: https://example.org/?" + b"a" * 2000 + b"\r\nSubject: token\r\n\r\ntext\r\n",
    "raw header": "Subject: Grüße\r\n".encode() + MIME + b"\r\nx\r\n",
    "raw header and text": TEXT + "Subject: Grüße\r\nTo: Jörg <u@x.test>\r\n\r\n".encode() + UMLAUTS,
    "attachments": MIME + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + TEXT.removeprefix(MIME) + b"\r\n" + UMLAUTS
    + "--b\r\nContent-Type: image/png\r\nContent-Disposition: attachment; filename=\"Grüße.png\"\r\n".encode()
    + b"Content-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n--b\r\nContent-Type: text/html\r\n\r\n" + HTML + b"\r\n--b--\r\n",
    "signed content of 8 bits": MIME + b"Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n\r\n" + UMLAUTS + b"--s--\r\n",
    "large 8-bit text": TEXT + b"\r\n" + b"".join(b"Line %d of a long text from K\xc3\xb6ln, with a few words more.\r\n" % n
    for n in range(9_500)),
    "large attachment beside 8-bit text": MIME + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
    + TEXT.removeprefix(MIME) + b"\r\n" + UMLAUTS + b"--b\r\nContent-Type: image/png\r\n"
    + b"Content-Transfer-Encoding: base64\r\n\r\n" + (b"QUJD" * 19 + b"\r\n") * 8_000 + b"--b--\r\n",
    "large": MIME + b"Content-Type: text/html\r\n\r\n" + (HTML + b"\r\n.\r\n") * 200,
}  # fmt: skip

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def keys(system: System) -> Iterator[Keys]:
    """The published keys of a domain that signs."""
    if not system.api.get("/v1/domains/example.test/dkim").json()["keys"]:
        assert system.api.post("/v1/domains/example.test/dkim/rotate", json={}).status_code == 201
        time.sleep(KEYS_SECONDS + 1)  # delivery may remember for so long that there were none
    listed = system.api.get("/v1/domains/example.test/dkim").json()["keys"]
    yield {key["dns"]["name"].encode(): key["dns"]["value"].encode() for key in listed}


def submit(system: System, account: Maildrop, recipients: list[str], content: bytes) -> None:
    with smtplib.SMTP("localhost", system.ports["SUBMISSION"], timeout=60) as client:
        client.starttls(context=system.trusting())
        client.login(account.address, account.password)
        assert client.sendmail(account.address, recipients, content) == {}


def octets_of(server: ScriptedSmtp) -> bytes:
    """What came by DATA or BDAT."""
    whole = b"".join(server.contents)
    return whole if "BDAT" in server.verbs else whole.replace(b"\r\n..", b"\r\n.")


def holds(content: bytes, keys: Keys) -> list[bool]:
    verifier = dkim.DKIM(content)
    number = content.partition(b"\r\n\r\n")[0].lower().count(b"dkim-signature:")

    def record(name: bytes, **_: object) -> bytes | None:
        return keys.get(name.rstrip(b"."))

    return [verifier.verify(index, dnsfunc=record) for index in range(number)]


async def sent(system: System, hand_in: Callable[[list[str]], None]) -> dict[str, bytes]:
    """Hand a message in for a recipient at each host; returns what each of them got."""
    number = next(_numbers)
    async with AsyncExitStack() as stack:
        servers = {}
        for name, offer in HOSTS.items():
            servers[name] = await stack.enter_async_context(ScriptedSmtp({"EHLO": offer}))
            route = {
                "domain": f"{name}{number}.test",
                "host": "127.0.0.1",
                "port": servers[name].port,
                "tls": "none",
            }
            answer = await asyncio.to_thread(system.api.post, "/v1/routes", json=route)
            assert answer.status_code == 201, answer.text
        await asyncio.to_thread(hand_in, [f"u@{name}{number}.test" for name in HOSTS])

        def done() -> bool:
            items = [
                system.api.get("/v1/queue", params={"domain": f"{name}{number}.test"}).json()[
                    "items"
                ]
                for name in HOSTS
            ]
            states = [one["state"] for found in items for one in found]
            assert "bounced" not in states and "deferred" not in states, items
            return states == ["delivered"] * len(HOSTS)

        await asyncio.to_thread(lambda: await_that("delivered", done, 60))
        return {name: octets_of(server) for name, server in servers.items()}


def judge(name: str, got: dict[str, bytes], keys: Keys) -> None:
    for host, content in got.items():
        assert holds(content, keys) == [True, True], (name, host)
        body = content.partition(b"\r\n\r\n")[2]
        assert max(map(len, body.split(b"\r\n"))) <= 998, (name, host)
        if host not in ("full", "eight-bit-alone") and name != "signed content of 8 bits":
            assert content.isascii(), (name, host)


@pytest.mark.parametrize("name", MESSAGES)
async def test_signatures_of_what_is_submitted_hold_at_every_host(
    system: System, new_account: NewAccount, keys: Keys, name: str
) -> None:
    alice = new_account()
    message = f"From: {alice.address}\r\n".encode() + MESSAGES[name]
    got = await sent(system, lambda recipients: submit(system, alice, recipients, message))
    judge(name, got, keys)
    if "raw header" in name:
        assert "Subject: Grüße\r\n".encode() in got["eight-bit-alone"]
        for content in got.values():
            read = email.message_from_bytes(content, policy=email.policy.default)
            assert read["Subject"] == "Grüße"


@pytest.mark.parametrize(
    "name",
    ["8-bit text", "a line of 4,500 octets", "raw header and text", "a token of 2,000 octets"],
)
async def test_signatures_of_what_programs_send_hold_at_every_host(
    system: System, new_account: NewAccount, keys: Keys, name: str
) -> None:
    alice = new_account()
    raw = f"From: {alice.address}\r\n".encode() + MESSAGES[name]

    def hand_in(recipients: list[str]) -> None:
        wish = {"from": alice.address, "to": recipients, "raw": base64.b64encode(raw).decode()}
        answer = system.api.post("/v1/send", json=wish)
        assert answer.status_code == 202, answer.text

    judge(name, await sent(system, hand_in), keys)


@pytest.mark.parametrize(
    "name", ["a line of 4,500 octets", "a token of 2,000 octets", "8-bit text", "raw header"]
)
async def test_forwarded_mail_keeps_its_octets_where_the_host_takes_them(
    system: System, new_account: NewAccount, name: str
) -> None:
    alice, number = new_account(), next(_numbers)
    message = (
        b"DKIM-Signature: v=1; d=stranger.test; b=x\r\nFrom: a@stranger.test\r\n" + MESSAGES[name]
    )

    def hand_in(recipients: list[str]) -> None:
        alias = f"forward{number}.{alice.address}"
        assert (
            system.api.post(
                "/v1/aliases", json={"address": alias, "targets": recipients}
            ).status_code
            == 201
        )
        system.send(message, alias, sender="a@stranger.test")

    got = await sent(system, hand_in)
    for host, content in got.items():
        if host in ("full", "eight-bit-alone") or message.isascii():
            assert content.endswith(message), host
        else:
            assert content.isascii()
            assert b"DKIM-Signature: v=1; d=stranger.test; b=x\r\n" in content, "a stranger's stays"
