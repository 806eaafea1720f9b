"""Logins to POP3 by tokens of an OpenID Connect issuer (RFC 5034, RFC 7628)."""

from __future__ import annotations

import json
import time
from base64 import b64decode

from tests.conformance.pop3.dialogue import ADDRESS, pop3_server
from tests.conformance.twins import MemoryMailStore
from tests.support.issuer import running_issuer
from tests.support.mail_tokens import mail_tokens, oauthbearer, token_of, xoauth2


async def test_a_token_opens_the_maildrop_until_it_expires(password_hash: str) -> None:
    house = MemoryMailStore(password_hash)
    alice = await house.account(ADDRESS)
    await house.account("sue@example.test", active=False)
    await house.deliver(alice, [b"Subject: x\r\n\r\nbody\r\n"])
    async with running_issuer() as issuer, pop3_server(house, tokens=mail_tokens(issuer)) as server:
        service = server.service
        now = time.time()
        token = token_of(issuer, ADDRESS, exp=int(now) + 100)
        client = await server.client()
        assert (await client.ask(f"AUTH XOAUTH2 {xoauth2(token, ADDRESS)}".encode())) == (
            b"+OK maildrop has 1 messages (20 octets)"
        )
        assert (await client.ask(b"DELE 1")).startswith(b"+OK")
        await service.watch()
        assert (await client.ask(b"NOOP")).startswith(b"+OK")
        service._clock = lambda: now + 131
        await service.watch()
        assert (
            await client.line()
        ) == b"-ERR [AUTH] the token has expired, log in again; nothing is deleted"
        assert await client.rest() == b""
        service._clock = time.time

        client = await server.client()
        for claims in ({"email": "nobody@example.test"}, {"aud": "others"}):
            line = oauthbearer(token_of(issuer, ADDRESS, **claims))
            reply = await client.ask(f"AUTH OAUTHBEARER {line}".encode())
            assert json.loads(b64decode(reply[2:]))["status"] == "invalid_token"
            reply = await client.ask(b"AQ==")
            assert reply == b"-ERR [AUTH] name or password is wrong"
        line = oauthbearer(token_of(issuer, "sue@example.test"))
        reply = await client.ask(f"AUTH OAUTHBEARER {line}".encode())
        assert reply.startswith(b"-ERR [SYS/PERM] ")
        assert len(await house.uidls(alice)) == 1
        line = oauthbearer(token_of(issuer, ADDRESS))
        assert (await client.ask(f"AUTH OAUTHBEARER {line}".encode())).startswith(b"+OK")
        client.abort()

    async with running_issuer() as issuer, pop3_server(house, tokens=mail_tokens(issuer)) as server:
        issuer.is_down = True
        client = await server.client()
        line = oauthbearer(token_of(issuer, ADDRESS))
        reply = await client.ask(f"AUTH OAUTHBEARER {line}".encode())
        assert reply.startswith(b"-ERR [SYS/TEMP] ")
