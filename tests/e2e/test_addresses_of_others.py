"""Addresses of others are kept as they are written on the whole way: by SMTP and by the API,
outbound, and back to the sender."""

from __future__ import annotations

import asyncio
import email
import email.policy
import itertools
import smtplib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import quote

import pytest

from tests.conformance.relay.client_env import without
from tests.support.maildrop import Maildrop
from tests.support.scripted_smtp import PLAIN, ScriptedSmtp
from tests.support.system import System, await_that

type NewAccount = Callable[[], Maildrop]

LOCALS = [
    ".foo",
    "foo.",
    "a..b",
    '"a..b"',
    '"a b"',
    '"a@b"',
    '"a>b"',
    "Foo.BAR",
    "msg1=0123456789abcdefghijk=bounces-100000-1234567890-abcdefghijklmnop-01",
    "y" * 150,
]
SEVEN_BIT = without(b"8BITMIME", b"SMTPUTF8", b"CHUNKING", b"SIZE")
_numbers = itertools.count(1)


@asynccontextmanager
async def elsewhere(system: System, **script: bytes) -> AsyncIterator[tuple[ScriptedSmtp, str]]:
    """A host elsewhere, and a domain with an underscore that leads to it."""
    domain = f"my_host{next(_numbers)}.others.test"
    async with ScriptedSmtp({"EHLO": SEVEN_BIT, **script}) as server:
        route = {"domain": domain, "host": "127.0.0.1", "port": server.port, "tls": "none"}
        answer = await asyncio.to_thread(system.api.post, "/v1/routes", json=route)
        assert answer.status_code == 201, answer.text
        yield server, domain


async def named(server: ScriptedSmtp, verb: str, number: int) -> list[str]:
    """Wait until so many paths have been named by MAIL or RCPT, and return them."""

    def found() -> list[str] | None:
        paths = [line for line in server.commands if line.startswith(verb)]
        return paths if len(paths) >= number and len(server.contents) > 0 else None

    lines = await asyncio.to_thread(await_that, f"{number} of {verb}", found, 40)
    return [line.partition(":<")[2].rpartition(">")[0] for line in lines]


async def test_recipients_of_a_client_are_named_to_their_host_as_written(
    system: System, new_account: NewAccount
) -> None:
    alice = new_account()

    def submit(recipients: list[str]) -> None:
        with smtplib.SMTP("localhost", system.ports["SUBMISSION"], timeout=60) as client:
            client.starttls(context=system.trusting())
            client.login(alice.address, alice.password)
            assert client.docmd(f"MAIL FROM:<{alice.address}>")[0] == 250
            for recipient in recipients:
                assert client.docmd(f"RCPT TO:<{recipient}>")[0] == 250, recipient
            assert client.data(f"From: {alice.address}\r\n\r\nx\r\n")[0] == 250

    async with elsewhere(system) as (server, domain):
        recipients = [f"{local}@{domain}" for local in LOCALS]
        await asyncio.to_thread(submit, recipients)
        assert sorted(await named(server, "RCPT", len(recipients))) == sorted(recipients)
        queued = await asyncio.to_thread(
            system.api.get, "/v1/queue", params={"domain": domain, "limit": 100}
        )
        assert sorted(item["recipient"] for item in queued.json()["items"]) == sorted(recipients)


async def test_recipients_of_the_api_are_named_to_their_host_as_written(
    system: System, new_account: NewAccount
) -> None:
    alice = new_account()
    async with elsewhere(system) as (server, domain):
        recipients = [f"{local}@{domain}" for local in LOCALS]
        named_too = [
            f"Jo, the Host <{recipient}>" for recipient in recipients if ">" not in recipient
        ]
        wish = {
            "from": alice.address,
            "to": recipients[:1],
            "cc": named_too,
            "bcc": recipients,
            "text": "x",
        }
        answer = await asyncio.to_thread(system.api.post, "/v1/send", json=wish)
        assert answer.status_code == 202, answer.text
        assert sorted(answer.json()["recipients"]) == sorted(recipients)
        assert sorted(await named(server, "RCPT", len(recipients))) == sorted(recipients)
        (content,) = server.contents
        message = email.message_from_bytes(content, policy=email.policy.compat32)
        for recipient in recipients:
            if ">" not in recipient:
                assert f"<{recipient}>" in message["Cc"], "each once, unbroken"


@pytest.mark.parametrize("local", LOCALS)
async def test_a_notice_goes_to_the_sender_as_written_and_travels_everywhere(
    system: System, new_account: NewAccount, local: str
) -> None:
    alias, token = f"away.{new_account().address}", b"X-Link: https://example.org/?" + b"a" * 2000
    message = (
        b"From: a@b.test\r\n"
        + token
        + "\r\nSubject: Grüße\r\nMessage-ID: <odd@b.test>\r\n\r\nx\r\n".encode()
    )

    def send(sender: str) -> None:
        with system.smtp() as session:
            session.ehlo()
            assert session.docmd(f"MAIL FROM:<{sender}>")[0] == 250
            assert session.rcpt(alias)[0] == 250
            assert session.data(message)[0] == 250

    async with (
        elsewhere(system, RCPT=b"550 5.1.1 no such user\r\n") as (refusing, target_domain),
        elsewhere(system, EHLO=PLAIN) as (home, domain),
    ):
        sender = f"{local}@{domain}"
        target = {"address": alias, "targets": [f"friend@{target_domain}"]}
        assert (
            await asyncio.to_thread(system.api.post, "/v1/aliases", json=target)
        ).status_code == 201
        await asyncio.to_thread(send, sender)
        assert await named(home, "RCPT", 1) == [sender]
        assert await named(home, "MAIL", 1) == [""]
        assert refusing.commands
    content = home.contents[0].replace(b"\r\n..", b"\r\n.")
    assert content.isascii()
    assert max(map(len, content.split(b"\r\n"))) <= 998
    assert f"\r\nTo: <{sender}>\r\n".encode() in content
    notice = email.message_from_bytes(content, policy=email.policy.default)
    assert notice.get_content_type() == "multipart/report"
    returned = list(notice.iter_parts())[2]
    assert token + b"\r\nSubject: Gr\xc3\xbc\xc3\x9fe\r\n" in returned.get_payload(decode=True)
    assert b"\r\nMessage-ID: <odd@b.test>\r\n" in content


@pytest.mark.parametrize("local", [local for local in LOCALS if len(local) < 64])
async def test_what_comes_back_to_a_forwarded_senders_address_reaches_it_as_written(
    system: System, new_account: NewAccount, local: str
) -> None:
    alias = f"onward.{new_account().address}"
    report = (
        b"Content-Type: multipart/report; boundary=x\r\nSubject: bounce\r\n\r\nno such friend\r\n"
    )

    def send(sender: str, recipient: str, content: bytes) -> None:
        with system.smtp() as session:
            session.ehlo()
            assert session.docmd(f"MAIL FROM:<{sender}>")[0] == 250
            assert session.docmd(f"RCPT TO:<{recipient}>")[0] == 250
            assert session.data(content)[0] == 250

    async with elsewhere(system) as (server, domain), elsewhere(system) as (home, home_domain):
        sender = f"{local}@{home_domain}"
        target = {"address": alias, "targets": [f"a..b@{domain}"]}
        assert (
            await asyncio.to_thread(system.api.post, "/v1/aliases", json=target)
        ).status_code == 201
        await asyncio.to_thread(send, sender, alias, b"From: a@b.test\r\n\r\nx\r\n")
        assert await named(server, "RCPT", 1) == [f"a..b@{domain}"]
        (path,) = await named(server, "MAIL", 1)
        assert path.rpartition("@")[2] == "example.test"
        await asyncio.to_thread(send, "", path, report)
        assert await named(home, "RCPT", 1) == [sender]


async def test_targets_and_suppressions_of_the_api_take_any_address_of_others(
    system: System, new_account: NewAccount
) -> None:
    alias, alice = f"several.{new_account().address}", new_account()

    def ask() -> None:
        answer = system.api.post("/v1/aliases", json={"address": alias, "targets": targets})
        assert answer.status_code == 201, answer.text
        assert system.api.get(f"/v1/aliases/{alias}").json()["targets"] == targets
        answer = system.api.post(
            "/v1/suppressions", json={"address": f'"A B"..c@{domain}', "reason": "asked"}
        )
        assert (answer.status_code, answer.json()["address"]) == (201, suppressed)
        listed = system.api.get("/v1/suppressions", params={"domain": domain}).json()["items"]
        assert [one["address"] for one in listed] == [suppressed]
        system.send(b"From: a@b.test\r\n\r\nx\r\n", alias)
        wish = {"from": alice.address, "to": [f'"a b"..C@{domain}', f".Free@{domain}"], "text": "x"}
        assert system.api.post("/v1/send", json=wish).status_code == 202

    def bounced() -> list[dict[str, str]]:
        which = {"domain": domain, "recipient": f'"A B"..c@{domain}', "state": "bounced"}
        items: list[dict[str, str]] = system.api.get("/v1/queue", params=which).json()["items"]
        return items

    async with elsewhere(system) as (server, domain):
        # the targets of an alias are compared with one another, and so are in lower case
        targets = [f"{local.lower()}@{domain}" for local in LOCALS]
        suppressed = f'"a b"..c@{domain}'
        await asyncio.to_thread(ask)
        expected = [*targets, f".Free@{domain}"]
        assert sorted(await named(server, "RCPT", len(expected))) == sorted(expected)
        found = await asyncio.to_thread(await_that, "the suppressed one has failed", bounced, 40)
        assert [(one["recipient"], one["last_status"]) for one in found] == [
            (f'"a b"..C@{domain}', "5.7.1")
        ]
        path = f"/v1/suppressions/{quote(suppressed)}"
        assert (await asyncio.to_thread(system.api.delete, path)).status_code == 204
