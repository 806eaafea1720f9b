"""Logins to submission by tokens of an OpenID Connect issuer (RFC 4954, RFC 7628)."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from types import SimpleNamespace

import pytest

from posthorn_smtp_in import authenticator
from tests.conformance.submission.env import EHLO, FROM_ALICE, Certificates, submission_env
from tests.support.issuer import running_issuer
from tests.support.mail_tokens import mail_tokens, oauthbearer, token_of, xoauth2

ALICE, BOB = "alice@example.test", "bob@example.test"


async def test_a_token_logs_in_until_it_expires(
    database_url: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        running_issuer() as issuer,
        submission_env(database_url, certificates, tokens=mail_tokens(issuer)) as env,
    ):

        def line(token: str, name: str = "") -> bytes:
            return f"AUTH OAUTHBEARER {oauthbearer(token, name)}\r\n".encode()

        talk = await env.secure()
        await talk.send(EHLO)
        assert "250 AUTH PLAIN LOGIN OAUTHBEARER XOAUTH2" in await talk.reply()
        for refused in (
            line(token_of(issuer, ALICE, aud="others")),
            line(token_of(issuer, ALICE), BOB),
        ):
            await talk.send(refused)
            (reply,) = await talk.reply()
            assert reply.startswith("334 ")
            assert json.loads(b64decode(reply[4:]))["status"] == "invalid_token"
            assert await talk.say(b"AQ==\r\n") == "535 5.7.8"
        token = token_of(issuer, ALICE, exp=int(time.time()) + 100)
        assert await talk.say(f"AUTH XOAUTH2 {xoauth2(token, ALICE)}\r\n".encode()) == "235 2.7.0"
        assert await talk.say(FROM_ALICE) == "250 2.1.0"

        await env.seed.rows("UPDATE accounts SET state = 'suspended' WHERE address = $1", BOB)
        other = await env.secure()
        await other.send(line(token_of(issuer, BOB)))
        assert (await other.reply())[0].startswith("334 ")
        assert await other.say(b"AQ==\r\n") == "535 5.7.8"

        later = SimpleNamespace(time=lambda: time.time() + 131, monotonic=time.monotonic)
        monkeypatch.setattr(authenticator, "time", later)
        assert await talk.code() == "421 4.7.0"
        assert await talk.ended()


async def test_a_fault_of_the_issuer_is_no_refusal(
    database_url: str, certificates: Certificates
) -> None:
    async with (
        running_issuer() as issuer,
        submission_env(database_url, certificates, tokens=mail_tokens(issuer)) as env,
    ):
        issuer.is_down = True
        talk = await env.secure()
        line = oauthbearer(token_of(issuer, ALICE))
        assert await talk.say(f"AUTH OAUTHBEARER {line}\r\n".encode()) == "454 4.7.0"
