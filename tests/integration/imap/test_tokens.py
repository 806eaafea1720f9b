"""Logins by tokens of an OpenID Connect issuer (RFC 7628): which open a mailbox, how they are
refused, and how long they hold."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from posthorn.adapters.postgres.database import Database
from posthorn.runtime.oidc.mailbox_tokens import MailTokens
from tests.support.imap import ALICE, PASSWORD, ImapEnv, imap_env
from tests.support.issuer import OTHER_RSA_KEY, Issuer, running_issuer
from tests.support.mail_tokens import mail_tokens, oauthbearer, token_of, xoauth2

BOB = "bob@example.test"
WRONG = b"NO [AUTHENTICATIONFAILED] name or password is wrong"


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with running_issuer() as running:
        yield running


@pytest.fixture
def tokens(issuer: Issuer) -> MailTokens:
    return mail_tokens(issuer)


@pytest.fixture
async def imap(database: Database, tmp_path: Path, tokens: MailTokens) -> AsyncIterator[ImapEnv]:
    async with imap_env(database, tmp_path / "bodies", tokens=tokens) as opened:
        await opened.account()
        await opened.account(BOB)
        yield opened


def trust(tokens: MailTokens, **changes: Any) -> None:
    """Change the settings."""
    tokens._trust = replace(tokens._trust, **changes)


async def refused(imap: ImapEnv, token: str, name: str = "") -> None:
    """Show a token that is refused, as RFC 7628 §3.2.3 has it."""
    client = imap.dialogue()
    reply = await client.feed(f"a AUTHENTICATE OAUTHBEARER {oauthbearer(token, name)}\r\n".encode())
    assert reply.startswith(b"+ "), reply
    reason = json.loads(b64decode(reply[2:]))
    assert reason["status"] == "invalid_token"
    assert reason["openid-configuration"].endswith("/.well-known/openid-configuration")
    assert await client.feed(b"AQ==\r\n") == b"a %b\r\n" % WRONG
    assert client.session.account is None


async def test_the_ways_to_log_in(imap: ImapEnv, issuer: Issuer) -> None:
    token = token_of(issuer, "Alice@EXAMPLE.test")
    client = imap.dialogue()
    capabilities = (await client.ok("CAPABILITY"))[0]
    assert b"AUTH=OAUTHBEARER AUTH=XOAUTH2" in capabilities
    for name in ("", ALICE):
        client = imap.dialogue()
        await client.ok(f"AUTHENTICATE OAUTHBEARER {oauthbearer(token, name)}")
        assert client.session.account is not None
        assert client.session.account.address == ALICE
    client = imap.dialogue()
    assert await client.feed(b"a AUTHENTICATE XOAUTH2\r\n") == b"+ \r\n"
    assert (await client.feed(xoauth2(token, ALICE).encode() + b"\r\n")).startswith(b"a OK ")
    client = imap.dialogue()
    assert (await client.no("AUTHENTICATE XOAUTH2 bm90aGluZw==")).startswith(b"BAD ")
    await client.ok(f'LOGIN {ALICE} "{PASSWORD}"')


async def test_tokens_that_open_no_mailbox(
    imap: ImapEnv, issuer: Issuer, tokens: MailTokens
) -> None:
    await refused(imap, "nonsense")
    await refused(imap, token_of(issuer, ALICE, aud="somebody-else"))
    await refused(imap, token_of(issuer, ALICE, exp=int(time.time()) - 60))
    await refused(imap, token_of(issuer, ALICE, email_verified=None))
    await refused(imap, token_of(issuer, ALICE, email_verified="true"))
    await refused(imap, token_of(issuer, ALICE, email=None))
    await refused(imap, token_of(issuer, "nobody@example.test"))
    await refused(imap, token_of(issuer, ALICE), name=BOB)
    await refused(imap, issuer.token(OTHER_RSA_KEY, email=ALICE, email_verified=True))

    trust(tokens, scope="mail")
    await refused(imap, token_of(issuer, ALICE))
    await refused(imap, token_of(issuer, ALICE, scope="email"))
    accepted = f"AUTHENTICATE OAUTHBEARER {oauthbearer(token_of(issuer, ALICE, scope='a mail'))}"
    await imap.dialogue().ok(accepted)
    trust(tokens, domains=frozenset({"other.test"}))
    await refused(imap, token_of(issuer, ALICE, scope="mail"))
    trust(tokens, scope="", domains=frozenset({"example.test"}), address_claim="upn")
    await refused(imap, token_of(issuer, ALICE))
    token = token_of(issuer, BOB, upn=ALICE)
    client = imap.dialogue()
    await client.ok(f"AUTHENTICATE OAUTHBEARER {oauthbearer(token)}")
    assert client.session.account is not None
    assert client.session.account.address == ALICE


async def test_xoauth2_is_refused_alike_and_ends_the_connection(
    imap: ImapEnv, issuer: Issuer
) -> None:
    """A client that cancels in place of an answer does not go on for ever."""
    client = imap.dialogue(login_attempts=2)
    line = f"a AUTHENTICATE XOAUTH2 {xoauth2('nonsense', ALICE)}\r\n".encode()
    reply = await client.feed(line)
    assert json.loads(b64decode(reply[2:])) == {"status": "401", "schemes": "bearer"}
    assert await client.feed(b"\r\n") == b"a %b\r\n" % WRONG
    await client.feed(line)
    assert await client.feed(b"\r\n") == b"a %b\r\n* BYE too many failed logins\r\n" % WRONG

    client = imap.dialogue(login_attempts=2)
    for _ in range(2):
        assert (await client.feed(line)).startswith(b"+ ")
        assert (await client.feed(b"*\r\n")).startswith(b"a BAD ")
    assert await client.feed(line) == b"a %b\r\n* BYE too many failed logins\r\n" % WRONG
    for _ in range(20):
        await refused(imap, token_of(issuer, "nobody@example.test"), ALICE)
    await imap.dialogue().ok(f'LOGIN {ALICE} "{PASSWORD}"')


async def test_faults_suspension_and_networks(imap: ImapEnv, issuer: Issuer) -> None:
    line = f"AUTHENTICATE OAUTHBEARER {oauthbearer(token_of(issuer, ALICE))}"
    issuer.is_down = True
    assert (await imap.dialogue().no(line)).startswith(b"NO [UNAVAILABLE] ")
    issuer.is_down = False
    imap.context.logins._mail_login.tokens.keys._asked_at = float("-inf")  # type: ignore[union-attr]
    await imap.dialogue().ok(line)
    issuer.is_down = True
    await imap.dialogue().ok(line)  # the keys are known
    await imap.seed.rows("UPDATE accounts SET allowed_networks = '{198.51.100.0/24}'")
    assert (await imap.dialogue().no(line)).startswith(b"NO [AUTHORIZATIONFAILED] ")
    await imap.seed.rows("UPDATE accounts SET allowed_networks = NULL, state = 'suspended'")
    assert (await imap.dialogue().no(line)).startswith(b"NO [CONTACTADMIN] ")


async def test_a_connection_ends_with_its_token_and_not_with_the_password(
    imap: ImapEnv, issuer: Issuer
) -> None:
    logins = imap.context.logins
    now = time.time()
    lives = {}
    for seconds in (100, 200):
        client = lives[seconds] = imap.dialogue()
        token = token_of(issuer, ALICE, exp=int(now) + seconds)
        await client.ok(f"AUTHENTICATE OAUTHBEARER {oauthbearer(token)}")
    await imap.seed.rows("UPDATE accounts SET password_hash = 'another'")
    await logins.watch()
    assert not lives[100].read()
    logins._clock = lambda: now + 100 + 31  # the leeway
    await logins.watch()
    assert lives[100].read() == b"* BYE the token has expired, log in again\r\n"
    assert lives[100].out.is_closed
    assert not lives[200].out.is_closed
    await imap.seed.rows("UPDATE accounts SET state = 'suspended'")
    await logins.watch()
    assert lives[200].read().startswith(b"* BYE this account is suspended")
