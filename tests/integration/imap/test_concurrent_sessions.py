"""Several clients at the same time on the same mailboxes, in two processes that send each other no
hints, while mail comes and mailboxes are renamed, deleted and made again. Each client knows only
what the server told it, over several connections; at the end it knows what is there."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from posthorn.adapters.postgres.database import Database
from tests.support.imap import ALICE, SIMPLE, Dialogue, ImapEnv, imap_env
from tests.support.imap_store import ImapStore

_EXISTS = re.compile(rb"\* (\d+) EXISTS")
_EXPUNGE = re.compile(rb"\* (\d+) EXPUNGE")
_VANISHED = re.compile(rb"\* VANISHED( \(EARLIER\))? ([\d:,]+)")
_FETCH = re.compile(rb"\* (\d+) FETCH \(")
_UID = re.compile(rb"[( ]UID (\d+)")
_FLAGS = re.compile(rb"[( ]FLAGS \(([^)]*)\)")
_MODSEQ = re.compile(rb"[( ]MODSEQ \((\d+)\)")
_EMAIL_ID = re.compile(rb"[( ]EMAILID \((\w+)\)")
_HIGHEST = re.compile(rb".*\[HIGHESTMODSEQ (\d+)\]")
_VALIDITY = re.compile(rb"\* OK \[UIDVALIDITY (\d+)\]")
_UIDNEXT = re.compile(rb"\* OK \[UIDNEXT (\d+)\].*")
_BITS = ((1, b"\\Seen"), (2, b"\\Answered"), (4, b"\\Flagged"), (8, b"\\Deleted"), (16, b"\\Draft"))
_FORBIDDEN = ("FETCH", "STORE", "SEARCH")
FOLDERS = ("INBOX", "Box")

type Flags = frozenset[bytes]


class GoneError(Exception):
    """The connection has ended, or there is no such mailbox at this moment."""


@dataclass
class World:
    """What is true for all clients."""

    messages: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """UIDVALIDITY and UID to EMAILID: never another one."""
    modseqs: dict[int, int] = field(default_factory=dict)
    """UIDVALIDITY to the highest HIGHESTMODSEQ of a SELECT that has ended."""


class Client:
    """One mail client: QRESYNC, CONDSTORE (as Thunderbird, which takes the highest MODSEQ of any
    FETCH for that of the mailbox) or neither."""

    def __init__(self, mail: ImapEnv, world: World, random: Random, kind: str, folder: str) -> None:
        self._mail, self._world, self._random = mail, world, random
        self._kind, self.folder = kind, folder
        self._dialogue: Dialogue | None = None
        self._validity = 0
        self._modseq = 0
        self.uids: list[int | None] = []
        self.flags: dict[int, Flags] = {}
        self._seen_modseqs: dict[int, int] = {}

    async def connect(self) -> None:
        """Connect and bring what is known up to date, until that succeeds."""
        while True:
            try:
                await self._connect()
            except GoneError:
                self.disconnect()
                await asyncio.sleep(0)
            else:
                return

    def disconnect(self) -> None:
        if self._dialogue is not None:
            self._dialogue.leave()
            self._mail.dialogues.remove(self._dialogue)
        self._dialogue = None

    async def _connect(self) -> None:
        self._dialogue = await self._mail.client()
        known: dict[int, Flags] = {}
        for uid in self.uids:  # up to the first of which something is not known
            if uid is None or uid not in self.flags:
                break
            known[uid] = self.flags[uid]
        validity, modseq = self._validity, self._modseq
        self.uids, self._validity = [], 0
        at_least = dict(self._world.modseqs)
        parameters = {"CONDSTORE": " (CONDSTORE)"}.get(self._kind, "")
        if self._kind == "QRESYNC":
            await self._run("ENABLE QRESYNC")
            self.flags = dict(known)
            if validity:
                parameters = f" (QRESYNC ({validity} {modseq}))"
        self._modseq = 0
        replies = await self._ask(f"SELECT {self.folder}{parameters}")
        for reply in replies[:-1]:
            if found := _VALIDITY.match(reply):
                self._validity = int(found[1])
            elif found := _HIGHEST.match(reply):
                self._modseq = int(found[1])
        if self._validity != validity:  # another mailbox of this name
            known, self._seen_modseqs = {}, {}
            if self._kind == "QRESYNC":
                self.flags = {}
        assert self._modseq >= at_least.get(self._validity, 0), "HIGHESTMODSEQ has gone back"
        highest = max(self._world.modseqs.get(self._validity, 0), self._modseq)
        self._world.modseqs[self._validity] = highest
        if self._kind == "QRESYNC" and known:
            await self._resynchronise(replies, known)
            return
        self.uids = [None] * _count(replies)
        self.flags = {}
        if self._kind == "CONDSTORE" and known:
            for reply in await self._ask("UID FETCH 1:* (UID)"):
                self._hear(reply, "UID FETCH")
            self.flags = {uid: known[uid] for uid in self.uids if uid in known}
            for reply in await self._ask(f"UID FETCH 1:* (UID FLAGS) (CHANGEDSINCE {modseq})"):
                self._hear(reply, "UID FETCH")
        await self._learn()

    async def _resynchronise(self, replies: list[bytes], known: dict[int, Flags]) -> None:
        """Apply what SELECT told of the messages that are known; ask for those that came."""
        last = max(known)
        self.flags = dict(known)
        for reply in replies[:-1]:
            if found := _VANISHED.fullmatch(reply):
                for uid in _uids(found[2]):
                    self.flags.pop(uid, None)
            elif _FETCH.match(reply):
                uid_told, flags = _UID.search(reply), _FLAGS.search(reply)
                assert uid_told and flags, reply
                if int(uid_told[1]) <= last:
                    self.flags[int(uid_told[1])] = frozenset(flags[1].split())
        self.uids = [None] * _count(replies)
        if int(_told(replies, _UIDNEXT)) > last + 1:
            for reply in await self._ask(f"UID FETCH {last + 1}:* (UID FLAGS EMAILID)"):
                self._hear(reply, "UID FETCH")
        # the first ones are those known, in their order; some may have come by now
        there = sorted(uid for uid in self.flags if uid <= last)
        count = len(there)
        assert all(told in (None, uid) for told, uid in zip(self.uids, there, strict=False)), (
            "what came or went was not told"
        )
        assert len(self.uids) >= count, "a removal is missed"
        self.uids[:count] = there
        known_new = [uid for uid in self.uids[count:] if uid is not None]
        assert self.uids[count : count + len(known_new)] == known_new, "a removal is missed"

    async def _ask(self, command: str | bytes) -> list[bytes]:
        assert self._dialogue is not None
        if self._dialogue.out.is_closed:
            raise GoneError
        replies = await self._dialogue.ask(command)
        if not replies[-1].startswith(b"OK") and b"NONEXISTENT" in replies[-1]:
            raise GoneError
        if any(reply.startswith(b"* BYE") for reply in replies):
            raise GoneError
        return replies

    async def _run(self, command: str | bytes) -> bytes:
        """Run a command; return the tagged reply."""
        *replies, last = await self._ask(command)
        name = command if isinstance(command, str) else command.decode()
        for reply in replies:
            self._hear(reply, name)
        if self._kind == "QRESYNC" and (found := _HIGHEST.match(last)):
            self._modseq = int(found[1])
        if self._kind == "CONDSTORE":  # once the command has ended
            self._modseq = max([self._modseq, *self._seen_modseqs.values()])
        assert last.startswith((b"OK", b"NO [EXPUNGEISSUED]", b"NO [TRYCREATE]")), (command, last)
        return last

    async def _learn(self) -> None:
        """Ask for what is not known; a NOOP tells what is gone."""
        for _ in range(3):
            unknown = [
                number
                for number, uid in enumerate(self.uids, 1)
                if uid is None or uid not in self.flags
            ]
            if not unknown:
                return
            numbers = ",".join(map(str, unknown))
            last = await self._run(f"FETCH {numbers} (UID FLAGS EMAILID)")
            if last.startswith(b"NO"):
                await self._run("NOOP")

    def _hear(self, reply: bytes, command: str) -> None:
        if found := _EXISTS.fullmatch(reply):
            assert int(found[1]) >= len(self.uids), "EXISTS takes nothing away"
            self.uids += [None] * (int(found[1]) - len(self.uids))
        elif found := _EXPUNGE.fullmatch(reply):
            assert not command.startswith(_FORBIDDEN), command
            assert 1 <= int(found[1]) <= len(self.uids), reply
            del self.uids[int(found[1]) - 1]
        elif found := _VANISHED.fullmatch(reply):
            assert not command.startswith(_FORBIDDEN), command
            for uid in _uids(found[2]):
                self.flags.pop(uid, None)
                if uid in self.uids:
                    self.uids.remove(uid)
                else:  # told by the same command: one of those not known yet
                    self.uids.remove(None)
        elif found := _FETCH.match(reply):
            self._hear_of_message(int(found[1]), reply)

    def _hear_of_message(self, number: int, reply: bytes) -> None:
        assert 1 <= number <= len(self.uids), reply
        if uid := _UID.search(reply):
            told = int(uid[1])
            assert self.uids[number - 1] in (None, told), "a number means one message"
            self.uids[number - 1] = told
        known = self.uids[number - 1]
        if known is None:
            return
        if flags := _FLAGS.search(reply):
            self.flags[known] = frozenset(flags[1].split())
        if modseq := _MODSEQ.search(reply):
            assert int(modseq[1]) >= self._seen_modseqs.get(known, 0), "a MODSEQ has gone back"
            self._seen_modseqs[known] = int(modseq[1])
        if email := _EMAIL_ID.search(reply):
            key = self._validity, known
            assert self._world.messages.setdefault(key, email[1]) == email[1], "a UID was reused"

    async def step(self) -> None:
        """Do something, as a user does."""
        try:
            await self._step()
            await self._learn()
        except GoneError:
            self.disconnect()
            await self.connect()

    async def _step(self) -> None:
        random = self._random
        count = len(self.uids)
        some = f"{random.randint(1, count)}:{random.randint(1, count)}" if count else ""
        uids = sorted(uid for uid in self.uids if uid is not None)
        some_uids = ",".join(map(str, random.sample(uids, min(len(uids), 3)))) or "1"
        sign = random.choice(["+FLAGS", "-FLAGS", "FLAGS"])
        flag = random.choice(["\\Seen", "\\Deleted", "\\Flagged", "Blue"])
        other = random.choice(FOLDERS)
        match random.randrange(12):
            case 0 | 1:
                await self._run("NOOP")
            case 2 | 3 if some:
                await self._run(f"STORE {some} {sign} ({flag})")
            case 4:
                await self._run(f"UID STORE {some_uids} {sign} ({flag})")
            case 5:
                await self._run(f"UID COPY {some_uids} {other}")
            case 6:
                await self._run(f"UID MOVE {some_uids} {other}")
            case 7:
                await self._run(f"UID EXPUNGE {some_uids}")
            case 8:
                await self._run("EXPUNGE")
            case 9:
                await self._run(b"APPEND %b {%d+}\r\n%b" % (other.encode(), len(SIMPLE), SIMPLE))
            case 10:
                await self._idle()
            case 11:
                self.disconnect()
                await self.connect()
            case _:
                await self._run("NOOP")

    async def _idle(self) -> None:
        assert self._dialogue is not None
        if self._dialogue.out.is_closed:
            raise GoneError
        heard = await self._dialogue.feed(b"i IDLE\r\n")
        for _ in range(self._random.randrange(20)):
            await asyncio.sleep(0.001)
        heard += await self._dialogue.feed(b"DONE\r\n")
        if b"* BYE" in heard:
            raise GoneError
        for line in heard.split(b"\r\n"):
            self._hear(line, "IDLE")

    async def catch_up(self) -> dict[int, Flags]:
        """Hear everything; return flags by UID."""
        while True:
            try:
                await self._run("NOOP")
                await self._learn()
            except GoneError:
                self.disconnect()
                await self.connect()
            else:
                break
        assert None not in self.uids
        return {uid: self.flags[uid] for uid in self.uids if uid is not None}


def _uids(ranges: bytes) -> list[int]:
    found: list[int] = []
    for part in ranges.split(b","):
        low, _, high = part.partition(b":")
        found += range(int(low), int(high or low) + 1)
    return found


def _count(replies: list[bytes]) -> int:
    """Return how many messages there are after SELECT: some may come and go while it is done."""
    count = 0
    for reply in replies:
        if found := _EXISTS.fullmatch(reply):
            count = int(found[1])
        elif _EXPUNGE.fullmatch(reply):
            count -= 1
        elif (found := _VANISHED.fullmatch(reply)) and not found[1]:
            count -= len(_uids(found[2]))
    return count


def _told(replies: list[bytes], pattern: re.Pattern[bytes]) -> bytes:
    return next(found[1] for reply in replies if (found := pattern.fullmatch(reply)))


async def _deliver(mail: ImapEnv, random: Random, steps: int) -> None:
    for _ in range(steps):
        await mail.place(*[SIMPLE] * random.randint(1, 3), flags=("\\Answered",))
        await asyncio.sleep(random.random() / 50)


async def _manage(mail: ImapEnv, random: Random, steps: int) -> None:
    """Rename the mailbox Box, which clients have selected, and back; delete it and make it again."""
    client = await mail.client()
    for _ in range(steps):
        await asyncio.sleep(random.random() / 20)
        if random.random() < 0.3:
            await client.ok("DELETE Box")
            await client.ok("CREATE Box")
        else:
            await client.ok("RENAME Box Other/Box")
            await asyncio.sleep(0)
            await client.ok("RENAME Other/Box Box")


@pytest.mark.parametrize("seed", [11, 20, 21])
async def test_each_client_knows_what_is_there(
    mail: ImapEnv, database: Database, tmp_path: Path, seed: int
) -> None:
    random, world = Random(seed), World()
    async with imap_env(database, tmp_path / "bodies") as second:
        second.accounts = mail.accounts
        manager = await mail.client()
        await manager.ok("CREATE Box")
        await mail.place(*[SIMPLE] * 5)
        await mail.place(*[SIMPLE] * 5, mailbox="Box")
        clients = [
            Client(env, world, Random(random.random()), kind, folder)
            for env, kind, folder in (
                (mail, "QRESYNC", "INBOX"),
                (second, "QRESYNC", "INBOX"),
                (second, "CONDSTORE", "INBOX"),
                (mail, "", "INBOX"),
                (second, "QRESYNC", "Box"),
                (mail, "CONDSTORE", "Box"),
            )
        ]
        for client in clients:
            await client.connect()

        async def live(client: Client) -> None:
            for _ in range(25):
                await client.step()

        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(live(client))
            group.create_task(_deliver(second, Random(seed + 1), 10))
            group.create_task(_manage(second, Random(seed + 2), 6))
        account = mail.accounts[ALICE]
        store = ImapStore(database, mail.blobs, mail.seed)
        for client in clients:
            truth = {
                uid: frozenset(
                    [name for bit, name in _BITS if flags & bit] + [word.encode() for word in words]
                )
                for uid, flags, words in await store.held(account, client.folder)
            }
            assert await client.catch_up() == truth
            client.disconnect()
            await client.connect()  # and a connection later, by what it knows
            assert await client.catch_up() == truth
