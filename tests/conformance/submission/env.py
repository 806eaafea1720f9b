"""The submission role on a loopback socket: logins, ownership and counters on real Postgres, the
rest smtp_env."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.directory.senders import PostgresSenders
from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle
from posthorn.runtime.ids import new_id
from posthorn.runtime.passwords import Passwords
from posthorn_local.certificate import ensure_certificate
from posthorn_smtp_in.composition import Backends, build_submission
from posthorn_smtp_in.server import serving_submission
from posthorn_smtp_in.settings import SubmissionSettings
from tests.conformance.smtp.env import EHLO, SmtpDialogue, SmtpEnv
from tests.support.databases import pool
from tests.support.events import RecordedEvents
from tests.support.seed import DatabaseSeed

PASSWORD = "correct horse"
APP_PASSWORD = "phap_0123456789abcdef"
FROM_ALICE = b"MAIL FROM:<alice@example.test>\r\n"
TO_BOB = b"RCPT TO:<bob@example.test>\r\n"
MESSAGE = b"From: Alice <alice@example.test>\r\nTo: bob@example.test\r\nSubject: Hello\r\n\r\nDear Bob\r\n"


@cache
def password_hash() -> str:
    """Argon2 as cheap as it can be."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


def plain(name: str, password: str = PASSWORD, acts_as: str = "") -> bytes:
    """AUTH PLAIN with an initial response."""
    return b"AUTH PLAIN " + base64.b64encode(f"{acts_as}\0{name}\0{password}".encode()) + b"\r\n"


class Certificates:
    """A certificate for localhost, and who trusts it."""

    def __init__(self, directory: Path) -> None:
        ensure_certificate(directory)
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.server.load_cert_chain(directory / "tls.crt", directory / "tls.key")
        self.trusting = ssl.create_default_context(cafile=str(directory / "tls.crt"))


@dataclass
class SubmissionEnv(SmtpEnv):
    """The service and what stands behind it."""

    seed: Any = None
    throttle: Any = None
    senders: Any = None
    certificates: Certificates | None = None
    recorded: RecordedEvents = field(default_factory=RecordedEvents)

    @property
    def tls_port(self) -> int:
        assert self.listening is not None and self.listening.tls_port is not None
        return self.listening.tls_port

    async def account(self, address: str, *, state: str = "active") -> int:
        number: int = await self.seed.account(address, state=state)
        await self.seed.rows(
            "UPDATE accounts SET password_hash = $1 WHERE id = $2", password_hash(), number
        )
        return number

    async def app_password(self, account: int, *scopes: str) -> None:
        await self.seed.rows(
            "INSERT INTO app_passwords (id, account_id, name, key_hash, scopes) VALUES ($1, $2, 'phone', $3, $4)",
            *(new_id(), account, hashlib.sha256(APP_PASSWORD.encode()).digest(), list(scopes)),
        )

    async def secure(self) -> SmtpDialogue:
        """A connection over TLS from the first octet, greeted."""
        assert self.certificates is not None
        streams = await asyncio.open_connection(
            "127.0.0.1", self.tls_port, ssl=self.certificates.trusting, server_hostname="localhost"
        )
        talk = SmtpDialogue(*streams)
        self.talks.append(talk)
        return await talk.hello()

    async def known(self, name: str = "alice@example.test") -> SmtpDialogue:
        """The same, logged in."""
        talk = await self.secure()
        assert await talk.say(plain(name)) == "235 2.7.0"
        return talk


@asynccontextmanager
async def submission_env(
    database_url: str,
    certificates: Certificates | None,
    *,
    tokens: Any = None,
    **changes: Any,
) -> AsyncIterator[SubmissionEnv]:
    """Serve with these settings; alice and bob have accounts at example.test."""
    values: dict[str, Any] = {
        "smtp_role": "submission",
        "smtp_host": "127.0.0.1",
        "smtp_hostname": "out.example.test",
    }
    values |= {"submission_port": 0, "submissions_port": 0, "submission_failure_delay_seconds": 0}
    settings = SubmissionSettings.model_validate(values | changes)
    passwords = Passwords()
    async with pool(database_url) as database:
        env = await _built(database, certificates)
        backends = Backends(env.directory, env.ingest, env.blobs, env.recorded)
        tls = certificates.server if certificates else None
        context, authenticator = build_submission(
            settings,
            backends,
            tls,
            senders=env.senders,
            throttle=env.throttle,
            passwords=passwords,
            tokens=tokens,
        )
        async with serving_submission(settings, context, authenticator, grace=5) as env.listening:
            try:
                yield env
            finally:
                for talk in env.talks:
                    await talk.close()
            await env.nothing_is_left()
    passwords.close()


async def _built(database: Database, certificates: Certificates | None) -> SubmissionEnv:
    seed = DatabaseSeed(database)
    env = SubmissionEnv(
        seed=seed,
        throttle=PostgresThrottle(database),
        senders=PostgresSenders(database),
        certificates=certificates,
    )
    await seed.domain("example.test")
    for name in ("alice", "bob"):
        await env.account(f"{name}@example.test")
    return env


async def begun(talk: SmtpDialogue) -> SmtpDialogue:
    """MAIL and RCPT, from alice to bob."""
    await talk.send(FROM_ALICE + TO_BOB)
    assert [await talk.code(), await talk.code()] == ["250 2.1.0", "250 2.1.5"]
    return talk


__all__ = ["EHLO", "SmtpDialogue", "SubmissionEnv", "begun", "plain", "submission_env"]
