"""The load: clients that send mail, read it and administer, and retry as such clients do."""

from __future__ import annotations

import base64
import random
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import httpx
from tests.support.maildrop import Reader, RefusedError

from chaos.ledger import Entry, Ledger
from chaos.stand import ADMIN_KEY, Stand

PASSWORD = "a password for chaos"
DOMAIN, OPEN_DOMAIN = "chaos.test", "open.test"
KEEPERS = ("keeper1@chaos.test", "keeper2@chaos.test")
EMPTIED = "emptied@chaos.test"
LEFT = "left@chaos.test"
WRITER = "writer@chaos.test"
MOVER = "mover@chaos.test"
"""Read by IMAP alone."""
ACCOUNTS = (*KEEPERS, EMPTIED, LEFT, WRITER, MOVER)
OUTSIDE = ("sink.test", "flaky.test", "slow.test")
_KINDS = {
    "ok": "sink.test",
    "no": "sink.test",
    "late": "sink.test",
    "deny": "sink.test",
    "before": "flaky.test",
    "after": "flaky.test",
    "slow": "slow.test",
    "cancelled": "cancel.test",
}
_KIND_WEIGHTS = (10, 3, 2, 2, 2, 2, 1, 1)
ANSWER_SECONDS = 30.0
_LARGE_SHARE = 0.05
_KEY_IN_USE = "urn:posthorn:problem:idempotency-key-in-use"


@dataclass
class World:
    """What all clients share."""

    stand: Stand
    ledger: Ledger
    ending: threading.Event
    """Set when no new work is to begin."""
    over_at: float = float("inf")
    """Monotonic seconds after which nothing is retried."""

    def api(self) -> httpx.Client:
        """Return a client of the REST API with the admin key."""
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.stand.ports['api']}",
            headers={"Authorization": f"Bearer {ADMIN_KEY}"},
            timeout=ANSWER_SECONDS,
            trust_env=False,
            verify=False,
        )


class Client:
    """Repeats one activity in a thread, with a random generator of its own."""

    def __init__(self, world: World, seed: str, pause: float) -> None:
        self.world, self.ledger = world, world.ledger
        self.chance = random.Random(seed)
        self._pause = pause
        self.thread = threading.Thread(target=self._run, daemon=True, name=seed)

    def _run(self) -> None:
        while not self.world.ending.is_set():
            try:
                self.once()
            except Exception as error:
                self.ledger.blame(f"client {self.thread.name}: {type(error).__name__}: {error}")
                return
            time.sleep(self._pause * self.chance.uniform(0.2, 1.8))

    def once(self) -> None:
        """Do the activity once."""
        raise NotImplementedError

    def insist(self, attempt: Callable[[], bool]) -> None:
        """Retry until it succeeds or the run is over."""
        while not attempt() and time.monotonic() < self.world.over_at:
            time.sleep(self.chance.uniform(0.1, 0.5))

    def size(self) -> int:
        """Draw a size in bytes: mostly small, sometimes above the inline limit of the stream."""
        if self.chance.random() < _LARGE_SHARE:
            return self.chance.randint(600_000, 1_200_000)
        return int(300 * 2 ** self.chance.uniform(0, 7))

    def somebody_outside(self, number: int) -> Sequence[str]:
        """Draw a recipient elsewhere."""
        (kind,) = self.chance.choices(list(_KINDS), _KIND_WEIGHTS)
        return (f"{kind}-{number}@{_KINDS[kind]}",)


class _Smtp(Client):
    """Sends messages by SMTP; keeps its session for a while."""

    part = "smtp-in"
    _session: smtplib.SMTP | None = None

    def open(self) -> smtplib.SMTP:
        port = self.world.stand.ports["smtp"]
        return smtplib.SMTP("127.0.0.1", port, local_hostname="client.test", timeout=ANSWER_SECONDS)

    def hand_in(self, entry: Entry, recipients: Sequence[str], *, chunked: bool) -> bool:
        """Try once; return whether the message is acknowledged."""
        ended = False
        try:
            session = self._session = self._session or self.open()
            session.ehlo_or_helo_if_needed()
            self._expect(session.mail(entry.sender))
            for recipient in recipients:
                self._expect(session.rcpt(recipient))
            ended = True
            if chunked:
                session.send(b"BDAT %d LAST\r\n" % len(entry.content))
                session.send(entry.content)
                self._expect(session.getreply())
            else:
                self._expect(session.data(entry.content))
        except (OSError, smtplib.SMTPException) as error:
            code = error.smtp_code if isinstance(error, smtplib.SMTPResponseException) else 0
            if code >= 500:
                self.ledger.blame(f"{self.part} refused {entry.number}: {error}")
            entry.uncertain += ended
            self._forget()
            return False
        self.ledger.acknowledged(entry)
        if self.chance.random() < 0.2:
            self._forget()
        return True

    def _forget(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    @staticmethod
    def _expect(reply: tuple[int, bytes]) -> None:
        if reply[0] != 250:
            raise smtplib.SMTPResponseException(*reply)


class Stranger(_Smtp):
    """Another mail server that sends to local addresses: accounts, aliases, forwards, catch-all,
    plus addresses."""

    def once(self) -> None:
        number = self.chance.random()
        ways: tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...] = (
            ((KEEPERS[0],), (KEEPERS[0],), ()),
            ((KEEPERS[0], EMPTIED), (KEEPERS[0], EMPTIED), ()),
            ((EMPTIED,), (EMPTIED,), ()),
            ((LEFT,), (LEFT,), ()),
            ((MOVER,), (MOVER,), ()),
            ((MOVER, KEEPERS[1]), (MOVER, KEEPERS[1]), ()),
            (("both@chaos.test",), KEEPERS, ()),
            (("away@chaos.test",), (), ("ok-forwarded@sink.test",)),
            (("half@chaos.test",), (KEEPERS[1],), ("ok-forwarded@sink.test",)),
            ((f"x{number}@open.test",), (KEEPERS[1],), ()),
            ((f"keeper1+{number}@chaos.test",), (KEEPERS[0],), ()),
        )
        recipients, boxes, outside = self.chance.choice(ways)
        entry = self.ledger.enter(
            self.part, "stranger@elsewhere.test", self.size(), boxes, lambda _: outside
        )
        chunked = self.chance.random() < 0.3
        self.insist(lambda: self.hand_in(entry, recipients, chunked=chunked))


class Writer(_Smtp):
    """A person who submits mail with a mail client."""

    part = "submission"

    def open(self) -> smtplib.SMTP:
        context = ssl.create_default_context(
            cafile=str(self.world.stand.directory / "tls" / "tls.crt")
        )
        port = self.world.stand.ports["submission"]
        session = smtplib.SMTP(
            "localhost", port, local_hostname="client.test", timeout=ANSWER_SECONDS
        )
        try:
            session.starttls(context=context)
            session.login(WRITER, PASSWORD)
        except BaseException:
            session.close()
            raise
        return session

    def once(self) -> None:
        boxes = (KEEPERS[1],) if self.chance.random() < 0.3 else ()
        entry = self.ledger.enter(self.part, WRITER, self.size(), boxes, self.somebody_outside)
        self.insist(lambda: self.hand_in(entry, [*boxes, *entry.outside], chunked=False))


class Program(Client):
    """A program that sends by POST /v1/send, and retries with the same Idempotency-Key."""

    def once(self) -> None:
        boxes = (KEEPERS[0],) if self.chance.random() < 0.3 else ()
        entry = self.ledger.enter(
            "api", WRITER, min(self.size(), 500_000), boxes, self.somebody_outside
        )
        document: dict[str, object] = {
            "from": WRITER,
            "to": [*boxes, *entry.outside],
            "raw": base64.b64encode(entry.content).decode(),
        }
        with self.world.api() as api:
            self.insist(lambda: self._post(api, entry, document))

    def _post(self, api: httpx.Client, entry: Entry, document: dict[str, object]) -> bool:
        try:
            answer = api.post(
                "/v1/send", json=document, headers={"Idempotency-Key": f"send-{entry.number}"}
            )
        except httpx.HTTPError:
            return False
        if answer.status_code == 202:
            self.ledger.acknowledged(entry)
            return True
        if answer.status_code == 409 and answer.json()["type"] == _KEY_IN_USE:
            self.ledger.served("api")  # an attempt that was killed holds its key for a minute
            time.sleep(1)
        elif answer.status_code < 500:
            self.ledger.blame(
                f"api refused {entry.number}: {answer.status_code} {answer.text[:200]}"
            )
        return False


class Reading(Client):
    """Reads a mailbox by POP3, and deletes: ``keep`` nothing, ``quit`` with QUIT, ``leave``
    without."""

    def __init__(self, world: World, seed: str, pause: float, address: str, way: str) -> None:
        super().__init__(world, seed, pause)
        self._address, self._way = address, way

    def once(self) -> None:
        with suppress(OSError, RefusedError):
            self.visit()

    def visit(self) -> list[int]:
        """Run one session; return the sizes of all messages. Raises OSError or RefusedError."""
        box = self.ledger.mailboxes[self._address]
        port = self.world.stand.ports["pop3"]
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as connection:
            reader = Reader(connection)
            reader.line()
            reader.line(f"USER {self._address}")
            reader.line(f"PASS {PASSWORD}")
            uids, sizes = reader.listing("UIDL"), reader.sizes()
            self.ledger.served("pop3")
            doomed = []
            for number, uid in uids.items():
                if uid not in box.seen:
                    self.ledger.read(self._address, uid, reader.message(number))
                if self._way != "keep" and self.chance.random() < 0.5:
                    reader.line(f"DELE {number}")
                    doomed.append(uid)
            if self._way == "leave":
                return list(sizes.values())
            with self.ledger.lock:
                box.doubtful |= set(doomed)
            reader.line("QUIT")
            with self.ledger.lock:
                box.present = set(uids.values()) - set(doomed)
                box.doubtful -= set(doomed)
                box.removed |= set(doomed)
            return list(sizes.values())


class Administrator(Client):
    """Changes accounts and quotas, and holds, releases and cancels what is queued."""

    def __init__(self, world: World, seed: str, pause: float) -> None:
        super().__init__(world, seed, pause)
        self.made: list[str] = []
        self.quota: set[int | None] = {None}
        """Acceptable values of the first keeper's quota."""
        self._numbers = 0

    def once(self) -> None:
        with self.world.api() as api:
            self.chance.choice((self._make, self._change_quota, self._hold, self._cancel))(api)

    def _make(self, api: httpx.Client) -> None:
        self._numbers += 1
        address = f"made{self._numbers}@{DOMAIN}"
        body = {"address": address, "password": PASSWORD}
        if self._request(api, "POST", "/v1/accounts", body, address) == 201:
            self.made.append(address)

    def _change_quota(self, api: httpx.Client) -> None:
        quota = self.chance.choice((None, 10**12 + self.chance.randint(0, 10**6)))
        self.quota.add(quota)
        if self._request(api, "PATCH", f"/v1/accounts/{KEEPERS[0]}", {"quota_bytes": quota}) == 200:
            self.quota = {quota}

    def _hold(self, api: httpx.Client) -> None:
        self._request(api, "POST", "/v1/queue/hold", {"domain": "sink.test"})
        time.sleep(self.chance.uniform(0.2, 1.5))
        self._request(api, "POST", "/v1/queue/release", {"domain": "sink.test"})

    def _cancel(self, api: httpx.Client) -> None:
        self._request(api, "POST", "/v1/queue/cancel", {"domain": "cancel.test"})

    def _request(
        self, api: httpx.Client, method: str, path: str, body: object, key: str = ""
    ) -> int:
        try:
            answer = api.request(
                method, path, json=body, headers={"Idempotency-Key": key} if key else {}
            )
        except httpx.HTTPError:
            return 0
        if 400 <= answer.status_code < 500:
            self.ledger.blame(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        elif answer.status_code < 500:
            self.ledger.served("api")
        return answer.status_code


def furnish(world: World, sink_port: int) -> None:
    """Create the accounts, aliases and routes of the load. Raises RuntimeError."""
    with world.api() as api:

        def make(path: str, **document: object) -> None:
            answer = api.post(path, json=document)
            if answer.status_code != 201:
                raise RuntimeError(f"{path}: {answer.status_code} {answer.text}")

        make("/v1/domains", name=DOMAIN, dkim=False)
        for address in ACCOUNTS:
            make("/v1/accounts", address=address, password=PASSWORD)
        make("/v1/aliases", address="both@chaos.test", targets=list(KEEPERS))
        make("/v1/aliases", address="away@chaos.test", targets=["ok-forwarded@sink.test"])
        make(
            "/v1/aliases", address="half@chaos.test", targets=[KEEPERS[1], "ok-forwarded@sink.test"]
        )
        make("/v1/domains", name=OPEN_DOMAIN, dkim=False, catch_all=KEEPERS[1])
        for domain in OUTSIDE:
            make("/v1/routes", domain=domain, host="127.0.0.1", port=sink_port, tls="none")


def clients(world: World, seed: int) -> tuple[list[Client], Administrator]:
    """Return the clients of the load, the administrator included."""
    administrator = Administrator(world, f"{seed} administrator", 1.5)
    readers = [
        Reading(world, f"{seed} reader of {address}", pause, address, way)
        for address, way, pause in (
            (KEEPERS[0], "keep", 1.0),
            (EMPTIED, "quit", 0.5),
            (LEFT, "leave", 1.0),
            (WRITER, "keep", 2.0),
        )
    ]
    makers: list[Client] = [
        Stranger(world, f"{seed} stranger {number}", 0.15) for number in range(4)
    ]
    makers += [Writer(world, f"{seed} writer {number}", 0.25) for number in range(2)]
    makers += [Program(world, f"{seed} program {number}", 0.25) for number in range(2)]
    return [*makers, *readers, administrator], administrator
