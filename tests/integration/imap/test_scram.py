"""Logins by SCRAM-SHA-256 (RFC 5802, RFC 7677; ADR 35)."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from posthorn.adapters.postgres.database import Database
from posthorn.runtime.scram_verifiers import ITERATIONS, ScramVerifiers
from tests.support.imap import ALICE, PASSWORD, Dialogue, ImapEnv, imap_env

BOB = "bob@example.test"
WRONG = b"NO [AUTHENTICATIONFAILED] name or password is wrong"
OTHER = "another password"


@pytest.fixture
async def imap(database: Database, tmp_path: Path) -> AsyncIterator[ImapEnv]:
    async with imap_env(database, tmp_path / "bodies", scram=True) as opened:
        await opened.account()
        yield opened
        await verifiers(opened).made()


def verifiers(imap: ImapEnv) -> ScramVerifiers:  # type: ignore[type-arg]
    found = imap.context.logins._mail_login.scram
    assert found is not None
    return found


async def upgraded(imap: ImapEnv, name: str = ALICE, password: str = PASSWORD) -> None:
    """Log in by LOGIN, and wait for the verifier."""
    await imap.dialogue().ok(f'LOGIN {name} "{password}"')
    await verifiers(imap).made()


class Client:
    """A client of its own, from RFC 5802 §3."""

    def __init__(self, dialogue: Dialogue, name: str, password: str, header: str = "n,,") -> None:
        self.dialogue = dialogue
        self._password = password
        self._header = header.encode()
        self._bare = f"n={name},r=fyko+d2lbbFgONRv9qkxdawL".encode()
        self.salt, self.iterations = b"", 0
        self._expected = b""

    async def send(self, octets: bytes) -> bytes:
        return await self.dialogue.feed(b64encode(octets) + b"\r\n")

    async def begin(self, *, initial: bool = True) -> bytes:
        """Send the first message; return the last one."""
        first = self._header + self._bare
        if initial:
            reply = await self.dialogue.feed(
                b"s AUTHENTICATE SCRAM-SHA-256 %s\r\n" % b64encode(first)
            )
        else:
            assert await self.dialogue.feed(b"s AUTHENTICATE SCRAM-SHA-256\r\n") == b"+ \r\n"
            reply = await self.send(first)
        assert reply.startswith(b"+ "), reply
        challenge = b64decode(reply[2:])
        values = dict(part.split(b"=", 1) for part in challenge.split(b","))
        assert values[b"r"].startswith(b"fyko+d2lbbFgONRv9qkxdawL")
        assert len(values[b"r"]) >= len(b"fyko+d2lbbFgONRv9qkxdawL") + 18
        self.salt, self.iterations = b64decode(values[b"s"]), int(values[b"i"])
        salted = hashlib.pbkdf2_hmac("sha256", self._password.encode(), self.salt, self.iterations)
        key = hmac.digest(salted, b"Client Key", "sha256")
        unproved = b"c=%s,r=%s" % (b64encode(self._header), values[b"r"])
        signed = self._bare + b"," + challenge + b"," + unproved
        mask = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        proof = bytes(one ^ other for one, other in zip(key, mask, strict=True))
        answer = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
        self._expected = b"+ " + b64encode(b"v=" + b64encode(answer)) + b"\r\n"
        return unproved + b",p=" + b64encode(proof)

    async def log_in(self, *, initial: bool = True) -> bytes:
        """Return the reply that ends the exchange."""
        reply = await self.send(await self.begin(initial=initial))
        if not reply.startswith(b"+ "):
            return reply
        assert reply == self._expected
        assert self.dialogue.session.account is None
        return await self.dialogue.feed(b"\r\n")


async def log_in(imap: ImapEnv, name: str = ALICE, password: str = PASSWORD) -> bytes:
    return await Client(imap.dialogue(), name, password).log_in()


async def test_a_login_by_password_makes_the_next_by_scram_possible(imap: ImapEnv) -> None:
    client = imap.dialogue()
    assert b"AUTH=LOGIN AUTH=SCRAM-SHA-256" in (await client.ok("CAPABILITY"))[0]
    assert await log_in(imap) == b"s %s\r\n" % WRONG
    await upgraded(imap)
    stored = (await imap.seed.rows("SELECT scram FROM accounts"))[0][0]
    await upgraded(imap)
    assert (await imap.seed.rows("SELECT scram FROM accounts"))[0][0] == stored
    for header, initial in (("n,,", True), ("y,,", False), (f"n,a={ALICE},", True)):
        made = Client(imap.dialogue(), ALICE.upper(), PASSWORD, header)
        reply = await made.log_in(initial=initial)
        assert reply.startswith(b"s OK [CAPABILITY "), reply
        session = made.dialogue.session
        assert session.account is not None
        assert session.account.address == ALICE
        assert session.failures == 0
        await made.dialogue.ok("SELECT INBOX")
        assert made.iterations == ITERATIONS


async def test_without_the_setting_it_is_neither_offered_nor_prepared(
    database: Database, tmp_path: Path
) -> None:
    async with imap_env(database, tmp_path / "bodies") as imap:
        await imap.account()
        client = imap.dialogue()
        assert b"SCRAM" not in (await client.ok("CAPABILITY"))[0]
        assert not (await client.no("AUTHENTICATE SCRAM-SHA-256 biws")).startswith(b"+")
        await client.ok(f'LOGIN {ALICE} "{PASSWORD}"')
        assert (await imap.seed.rows("SELECT scram FROM accounts"))[0][0] is None


async def test_a_wrong_password_is_refused_and_ends_the_connection(imap: ImapEnv) -> None:
    await upgraded(imap)
    dialogue = imap.dialogue(login_attempts=3)
    assert await Client(dialogue, ALICE, OTHER).log_in() == b"s %s\r\n" % WRONG
    # not somebody else, and what is broken off counts
    acting = Client(dialogue, ALICE, PASSWORD, f"n,a={BOB},")
    assert await acting.log_in() == b"s %s\r\n" % WRONG
    await Client(dialogue, ALICE, PASSWORD).begin()
    assert (await dialogue.feed(b"*\r\n")).startswith(b"s BAD ")
    reply = await dialogue.feed(b"s AUTHENTICATE SCRAM-SHA-256 biwsbj14LHI9eA==\r\n")
    assert reply == b"s %s\r\n* BYE too many failed logins\r\n" % WRONG

    dialogue = imap.dialogue()
    made = Client(dialogue, ALICE, PASSWORD)
    assert (await dialogue.no("AUTHENTICATE SCRAM-SHA-256 cD10bHMtZXhwb3J0ZXIsLG49eCxyPXg=")) == (
        b"BAD channel binding is not supported"
    )
    last = await made.begin()
    assert (await made.send(last[:-1])).startswith(b"s BAD ")
    last = await made.begin()
    assert (await made.send(last)).startswith(b"+ ")
    assert (await made.send(b"more")).startswith(b"s BAD ")
    assert dialogue.session.account is None


async def test_a_changed_password_makes_the_verifier_void(imap: ImapEnv) -> None:
    await upgraded(imap)
    made = Client(imap.dialogue(), ALICE, PASSWORD)
    assert (await made.log_in()).startswith(b"s OK ")
    changed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(OTHER)
    await imap.seed.rows("UPDATE accounts SET password_hash = $1", changed)
    await imap.context.logins.watch()
    assert made.dialogue.read().startswith(b"* BYE the password was changed")
    for password in (PASSWORD, OTHER):
        assert await log_in(imap, password=password) == b"s %s\r\n" % WRONG
    await upgraded(imap, password=OTHER)
    assert (await log_in(imap, password=OTHER)).startswith(b"s OK ")
    assert await log_in(imap) == b"s %s\r\n" % WRONG
    # a verifier that comes late does not replace that of the present password
    known = made.dialogue.session.account
    assert known is not None
    before = await imap.seed.rows("SELECT scram FROM accounts")
    await verifiers(imap)._make(known, PASSWORD)
    assert await imap.seed.rows("SELECT scram FROM accounts") == before


async def test_it_does_not_show_which_accounts_exist(imap: ImapEnv) -> None:
    await imap.account(BOB)
    found: dict[str, set[tuple[bytes, int]]] = {}
    for _ in range(2):
        for name in (ALICE, BOB, "nobody@example.test", "nonsense"):
            made = Client(imap.dialogue(), name, OTHER)
            assert await made.log_in() == b"s %s\r\n" % WRONG
            found.setdefault(name, set()).add((made.salt, made.iterations))
        await upgraded(imap)
    assert {len(answers) for answers in found.values()} == {1}
    assert len(set.union(*found.values())) == 4
    assert {len(salt) for answers in found.values() for salt, _ in answers} == {16}


async def test_suspension_networks_limits_and_faults(imap: ImapEnv) -> None:
    await upgraded(imap)
    await imap.seed.rows("UPDATE accounts SET allowed_networks = '{198.51.100.0/24}'")
    assert (await log_in(imap)).startswith(b"s NO [AUTHORIZATIONFAILED] ")
    await imap.seed.rows("UPDATE accounts SET allowed_networks = NULL, state = 'suspended'")
    dialogue = imap.dialogue(login_attempts=1)
    assert (await Client(dialogue, ALICE, PASSWORD).log_in()).startswith(b"s NO [CONTACTADMIN] ")
    assert not dialogue.out.is_closed, "it was not wrong"
    assert await log_in(imap, password=OTHER) == b"s %s\r\n" % WRONG
    await imap.seed.rows("UPDATE accounts SET state = 'active'")

    dialogue = imap.dialogue()
    dialogue.out.has_place = False
    assert (await Client(dialogue, ALICE, PASSWORD).log_in()).startswith(b"s NO [LIMIT] ")
    dialogue.out.has_place = True
    assert (await Client(dialogue, ALICE, PASSWORD).log_in()).startswith(b"s OK ")

    dialogue = imap.dialogue()
    await imap.seed.rows("UPDATE installation SET scram_salt_key = NULL")
    verifiers(imap)._key = None
    reply = await dialogue.no("AUTHENTICATE SCRAM-SHA-256 biwsbj14LHI9eA==")
    assert reply.startswith(b"NO [UNAVAILABLE] ")
    # nobody waits for a verifier, nor notices that it cannot be stored
    await imap.seed.rows("UPDATE accounts SET scram = NULL")
    await upgraded(imap)
    assert (await imap.seed.rows("SELECT scram FROM accounts"))[0][0] is None


async def test_failures_are_counted_as_those_of_passwords(imap: ImapEnv) -> None:
    await upgraded(imap)
    for number in range(100):
        reply = await Client(imap.dialogue(), f"user{number % 3}@example.test", OTHER).log_in()
        if b"UNAVAILABLE" in reply:
            break
        assert reply == b"s %s\r\n" % WRONG
    throttled = b"s NO [UNAVAILABLE] too many failed logins, try again in some minutes\r\n"
    assert reply == throttled
    assert await log_in(imap, "nobody@example.test") == throttled
    assert await imap.dialogue().no(f"LOGIN {BOB} x") == throttled[2:-2]
