"""What FETCH records as read, for the traces of messages: once for a connection."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from posthorn.model.events import READ
from posthorn.runtime.tasks import cancel_and_wait
from posthorn_imap import reads
from tests.support.events import RecordedEvents
from tests.support.imap import ALICE, SIMPLE, ImapEnv


async def recorded(mail: ImapEnv) -> list[UUID]:
    """The messages of the events that wait."""
    recorder = RecordedEvents()
    publishing = asyncio.create_task(mail.context.read_events.publish(recorder))
    await asyncio.sleep(0)
    await cancel_and_wait(publishing)
    (tenant,) = await mail.seed.rows("SELECT tenant_id FROM domains")
    for event in recorder.events:
        assert event.kind == READ
        assert event.detail == {"account": ALICE, "tenant": str(tenant[0])}
    return [event.message for event in recorder.events]


async def test_a_message_is_read_when_all_of_it_was_sent(
    mail: ImapEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mail.place(*[SIMPLE] * 6)
    ids = [
        UUID(str(row[0]))
        for row in await mail.seed.rows("SELECT message_id FROM mailbox_entries ORDER BY uid")
    ]
    client = await mail.client("INBOX")
    await client.ok("FETCH 1:6 (FLAGS ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER] BODY.PEEK[TEXT])")
    await client.ok("FETCH 1:6 (BODY.PEEK[]<0.10> BODY.PEEK[1])")
    assert await recorded(mail) == []
    await client.ok("FETCH 1 BODY.PEEK[]")
    await client.ok("FETCH 2 BODY.PEEK[]")
    await client.ok("FETCH 2:3 (UID RFC822)")
    await client.ok("UID FETCH 4 BINARY.PEEK[]")
    await client.ok(f"FETCH 5 BODY[]<10.{len(SIMPLE)}>")
    await client.ok(f"FETCH 6 BODY.PEEK[]<{len(SIMPLE)}.10>")
    assert await recorded(mail) == ids[:5]
    await client.ok("FETCH 1:5 BODY.PEEK[]")
    assert await recorded(mail) == [], "once for a connection"
    monkeypatch.setattr(reads, "MOST", 2)
    other = await mail.client("INBOX")
    await other.ok("FETCH 1:6 BODY.PEEK[]")
    assert await recorded(mail) == ids[:2], "what a connection must remember is bounded"
