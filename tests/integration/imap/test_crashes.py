"""kill -9 of a real IMAP process in the middle of MOVE, COPY and EXPUNGE of 5,000 messages, and
of APPEND: all was done or nothing, another process goes on, counters and change log hold."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from posthorn.adapters.postgres.database import Database
from posthorn.ports.mailbox_view import DELETED
from posthorn.ports.placing import NewMessage
from posthorn_local.embedded import Nats
from tests.support.databases import logged_in
from tests.support.imap import Dialogue, ImapEnv
from tests.support.imap_crashing import KILLED
from tests.support.imap_process import imap_process
from tests.support.imap_store import ImapStore
from tests.support.polling import until

pytestmark = pytest.mark.timeout(240)

MANY = 5000
MOVE, COPY, EXPUNGE = f"MOVE 1:{MANY} Archive", f"COPY 1:{MANY} Archive", "EXPUNGE"
APPEND = "APPEND"
DEATHS = {
    MOVE: ("half-way", "before-commit", "after-commit"),
    COPY: ("before-commit", "after-commit"),
    EXPUNGE: ("before-commit", "after-commit"),
    APPEND: ("before-put", "after-put", "before-commit", "after-commit"),
}
"""Where processes die by a command, one after the other."""
NEW = b"Subject: appended\r\n\r\nbody\r\n"


async def held(imap: ImapEnv) -> Mapping[str, list[str]]:
    """Return the ids of messages, by mailbox."""
    rows = await imap.seed.rows(
        "SELECT b.name, e.message_id::text FROM mailboxes b JOIN mailbox_entries e"
        " USING (account_id, mailbox_id) ORDER BY b.name, e.uid"
    )
    return {name: [message for where, message in rows if where == name] for name, _ in rows}


async def is_done(imap: ImapEnv, client: Dialogue, command: str, was: list[str]) -> bool:
    """Return whether the command was done; it must have been as a whole or not at all, and another
    connection must see what the database holds."""
    now = await held(imap)
    inbox, archive = now.get("INBOX", []), now.get("Archive", [])
    afterwards: dict[str, tuple[list[str], list[str]]] = {
        MOVE: ([], was),
        COPY: (was, was),
        EXPUNGE: ([], []),
        APPEND: (was + inbox[len(was) : len(was) + 2], []),
    }
    done = (inbox, archive) != (was, [])
    assert not done or (inbox, archive) == afterwards[command]
    for name, messages in (("INBOX", inbox), ("Archive", archive)):
        seen = await client.ok(f"STATUS {name} (MESSAGES)")
        assert seen == [f"* STATUS {name} (MESSAGES {len(messages)})".encode()]
    return done


def _has_died(log: Path, times: int) -> bool:
    return log.read_text().count(KILLED) == times


@pytest.mark.parametrize("command", DEATHS)
async def test_processes_killed_in_the_middle_do_all_or_nothing_and_others_go_on(
    imap: ImapEnv, database: Database, nats: Nats, database_url: str, tmp_path: Path, command: str
) -> None:
    count = 3 if command == APPEND else MANY
    account = await imap.account()
    client = await imap.client()
    await imap.seed.rows("UPDATE mailboxes SET counted_modseq = modseq")
    flags = DELETED if command == EXPUNGE else 0
    contents = [b"Subject: %d\r\n\r\n%d\r\n" % (number, number) for number in range(count)]
    messages = [NewMessage(content, None, flags, (), None) for content in contents]
    assert await imap.context.backend.placing.place(account, "INBOX", messages)
    was = (await held(imap))["INBOX"]
    assert len(was) == count
    point = tmp_path / "point"
    point.write_text("never")
    log = tmp_path / "log"
    async with imap_process(
        log,
        nats.url_of("imap"),
        logged_in(database_url, "imap"),
        (tmp_path / "bodies").as_uri(),
        command=(sys.executable, "-m", "tests.support.imap_crashing", str(point)),
    ) as process:
        for deaths, where in enumerate(DEATHS[command]):
            point.write_text("never")
            await process.ready()
            victim = await process.login("INBOX")
            point.write_text(where)
            if command == APPEND:
                one = b" {%d+}\r\n%s" % (len(NEW), NEW)
                victim.send(b"x APPEND INBOX%s%s\r\n" % (one, one))
            else:
                victim.send(f"x {command}\r\n".encode())
            assert b"x OK" not in await victim.rest()
            await until(partial(_has_died, log, deaths + 1))
            assert await is_done(imap, client, command, was) == (where == "after-commit"), where
            await ImapStore(database, imap.blobs, imap.seed).is_sound()
        await process.ready()  # before that it does not end well when it is told to
    if command == APPEND:
        await client.ok("SELECT INBOX")
        for reply in await client.ok(f"FETCH {count + 1}:* BODY.PEEK[]"):
            assert reply.endswith(b" FETCH (BODY[] {%d}\r\n%s)" % (len(NEW), NEW))
