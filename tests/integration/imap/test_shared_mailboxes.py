"""Several connections on one mailbox: each is told exactly what happens, whatever the order; and
one whose transaction is killed changes all or nothing, and never hears OK."""

from __future__ import annotations

import asyncio
import re
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.databases import until_waiting
from tests.support.imap import ALICE, SIMPLE, Dialogue, ImapEnv

_numbers = count(1)
_EXISTS = re.compile(rb"\* (\d+) EXISTS")
_EXPUNGE = re.compile(rb"\* (\d+) EXPUNGE")
_VANISHED = re.compile(rb"\* VANISHED ([\d:,]+)")
_FETCH = re.compile(rb"\* (\d+) FETCH \(")
_UID = re.compile(rb"[( ]UID (\d+)")
_FLAGS = re.compile(rb"[( ]FLAGS \(([^)]*)\)")


class Mirror:
    """A client that knows what it was told, and nothing else."""

    def __init__(self, client: Dialogue) -> None:
        self.client = client
        self.uids: list[int | None] = []
        self.flags: dict[int, frozenset[bytes]] = {}

    async def run(self, command: str | bytes) -> bytes:
        """Run a command; return the tagged reply."""
        *replies, last = await self.client.ask(command)
        for reply in replies:
            self.hear(reply, command)
        # as clients do: ask for what is new
        while unknown := self.unknown():
            for reply in await self.client.ok(f"FETCH {unknown[0]} (UID FLAGS)"):
                self.hear(reply, "FETCH")
        return last

    def unknown(self) -> list[int]:
        """Return the numbers of messages of which something is not known, but for gone ones."""
        selected = self.client.session.selected
        gone = (
            set()
            if selected is None
            else {selected.numbering.number(uid) for uid in selected.numbering.gone}
        )
        return [
            number
            for number, uid in enumerate(self.uids, 1)
            if (uid is None or uid not in self.flags) and number not in gone
        ]

    def hear(self, reply: bytes, command: str | bytes) -> None:
        if found := _EXISTS.fullmatch(reply):
            number = int(found[1])
            assert number >= len(self.uids), "EXISTS takes nothing away"
            self.uids += [None] * (number - len(self.uids))
        elif found := _EXPUNGE.fullmatch(reply):
            assert not str(command).startswith(("FETCH", "STORE", "SEARCH")), command
            number = int(found[1])
            assert 1 <= number <= len(self.uids)
            del self.uids[number - 1]
        elif found := _VANISHED.fullmatch(reply):
            for part in found[1].split(b","):
                low, _, high = part.partition(b":")
                for uid in range(int(low), int(high or low) + 1):
                    # announced by the same command: it is one of those not known yet
                    self.uids.remove(uid if uid in self.uids else None)
        elif found := _FETCH.match(reply):
            number = int(found[1])
            assert 1 <= number <= len(self.uids), reply
            if uid_told := _UID.search(reply):
                told = int(uid_told[1])
                assert self.uids[number - 1] in (None, told), "a number means one message"
                self.uids[number - 1] = told
            known = self.uids[number - 1]
            if (flags := _FLAGS.search(reply)) and known is not None:
                self.flags[known] = frozenset(flags[1].split())

    async def catch_up(self) -> dict[int, frozenset[bytes]]:
        """Hear everything; return flags by UID as told, without having asked for known ones."""
        await self.run("NOOP")
        assert None not in self.uids
        return {uid: self.flags[uid] for uid in self.uids if uid is not None}


_set = st.sampled_from(["1", "1:*", "2:3", "*", "1,3,5", "4:2", "2:9"])
_flag = st.sampled_from(["\\Seen", "\\Deleted", "\\Flagged", "Blue"])
STEPS = st.tuples(
    st.integers(0, 2),
    st.one_of(
        st.just(("append",)),
        st.tuples(
            st.just("store"), st.sampled_from(["", "UID "]), _set, st.sampled_from(["+", "-", ""]),
            st.sampled_from(["", ".SILENT"]), _flag,
        ),
        st.tuples(st.just("copy"), st.sampled_from(["COPY", "MOVE"]), _set, st.sampled_from(["INBOX", "Trash"])),
        st.just(("run", "EXPUNGE")),
        st.tuples(st.just("expunge"), _set),
        st.tuples(st.just("run"), st.sampled_from(["NOOP", "FETCH 1:* (UID FLAGS)", "UID FETCH 1:* (FLAGS)",
                                                   "FETCH 1 (UID BODY[])", "UID FETCH 2:* (UID BODY[])"])),
        st.just(("else",)),
    ),
)  # fmt: skip


async def _step(mail: ImapEnv, address: str, mirror: Mirror, step: tuple[str, ...]) -> None:
    is_empty = not mirror.uids
    match step:
        case ("append",):
            await mirror.run(b"APPEND INBOX (\\Draft) {%d+}\r\n%s" % (len(SIMPLE), SIMPLE))
        case "store", uid, messages, action, silent, flag:
            if is_empty or (not uid and silent):
                return  # a silent one by number tells no flags; the model would have to guess
            known = dict(mirror.flags)
            last = await mirror.run(f"{uid}STORE {messages} {action}FLAGS{silent} ({flag})")
            assert last.startswith((b"OK", b"NO [EXPUNGEISSUED]")), last
            if silent:  # what a client knows of its own change
                mirror.flags = known
                await mirror.run("UID FETCH 1:* (UID FLAGS)")
        case "copy", verb, messages, target:
            last = await mirror.run(f"UID {verb} {messages} {target}")
            assert last.startswith(b"OK"), last
        case "expunge", messages:
            await mirror.run(f"UID EXPUNGE {messages}")
        case "run", command:
            if not is_empty:
                last = await mirror.run(command)
                assert last.startswith((b"OK", b"NO [EXPUNGEISSUED]")), last
        case _:  # another process, which gives no hint
            await mail.place(SIMPLE, address=address, flags=("\\Answered",))


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, min_size=6, max_size=24))
async def test_connections_are_told_what_happens(
    mail: ImapEnv, steps: list[tuple[int, tuple[str, ...]]]
) -> None:
    address = f"user{next(_numbers)}@example.test"
    number = await mail.account(address)
    await mail.seed.rows("UPDATE mailboxes SET counted_modseq = modseq WHERE counted_modseq = 0")
    mirrors = []
    for which in range(3):  # two of rev1, one with QRESYNC
        client = await mail.client(address=address)
        if which == 2:
            await client.ok("ENABLE QRESYNC")
        mirrors.append(Mirror(client))
        await mirrors[-1].run("SELECT INBOX")
    for which, step in steps:
        await _step(mail, address, mirrors[which], step)
    rows = await mail.seed.rows(
        "SELECT uid, flags, keywords FROM mailbox_entries WHERE account_id = $1 AND mailbox_id = 1",
        number,
    )
    names = (
        (2, b"\\Answered"),
        (4, b"\\Flagged"),
        (8, b"\\Deleted"),
        (1, b"\\Seen"),
        (16, b"\\Draft"),
    )
    truth = {
        uid: frozenset(
            [name for bit, name in names if flags & bit] + [word.encode() for word in keywords]
        )
        for uid, flags, keywords in rows
    }
    for mirror in mirrors:
        assert await mirror.catch_up() == truth
    for mirror in mirrors:
        mirror.client.leave()
    mail.dialogues.clear()


@pytest.mark.parametrize(
    ("command", "is_known"),
    [
        (b"MOVE 1:2 Trash", True),
        (b"COPY 1 Trash", True),
        (b"EXPUNGE", True),
        (b"STORE 1:3 +FLAGS \\Flagged", True),
        # one statement that commits by itself
        (b"APPEND INBOX {6+}\r\nA: b\r\n {6+}\r\nA: c\r\n", False),
        (b"CLOSE", True),
    ],
)
async def test_a_killed_transaction_changes_nothing_and_is_never_ok(
    mail: ImapEnv, command: bytes, is_known: bool
) -> None:
    """Where COMMIT was not sent, it is known that nothing was changed, and the client may go on;
    otherwise the connection ends (ADR 33)."""
    await mail.place(*[SIMPLE] * 3, flags=("\\Deleted",))
    client = await mail.client("INBOX")
    account = mail.accounts[ALICE]
    entries = "SELECT mailbox_id, uid, flags, modseq FROM mailbox_entries ORDER BY 1, 2"
    before = await mail.seed.rows(entries)
    async with mail.database.transaction() as other:
        await other.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", account)
        asked = asyncio.create_task(client.feed(b"a " + command + b"\r\n"))
        await other.execute("SELECT pg_terminate_backend($1, 5000)", await until_waiting(other))
        sent = await asked
    assert sent.startswith(b"a NO [UNAVAILABLE] " if is_known else b"* BYE [UNAVAILABLE] ")
    assert b"a OK" not in sent
    assert client.out.is_closed is not is_known
    assert await mail.seed.rows(entries) == before
    again = client if is_known else await mail.client("INBOX")
    assert (await again.ask(command))[-1].startswith(b"OK")
