"""What events come to in the message index, with an index in memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import pytest

from posthorn.model.events import (
    ACCEPTED,
    BOUNCED,
    DEFERRED,
    DELIVERED,
    FILED,
    QUARANTINED,
    QUEUED,
    READ,
    REFUSED,
    Event,
)
from posthorn.model.search_terms import SENDER, asked_for, named, subject_words, terms_of
from posthorn.ports.errors import Unavailable
from posthorn.ports.message_index import IndexedMessage, Known, MessageFilter, MessageHead, Place
from posthorn.runtime.ids import new_id
from posthorn_api.search.indexing import Indexer

ACME, OTHER = UUID(int=1), UUID(int=2)
OWNERS = {"acme.test": ACME, "other.test": OTHER}


class Index:
    """Keeps entries by their key, the newer one."""

    def __init__(self) -> None:
        self.entries: dict[tuple[UUID, UUID | None, str], IndexedMessage] = {}
        self.heads: dict[UUID, MessageHead] = {}
        self.writes = 0
        self.is_down = False

    async def known(self, messages: Collection[UUID], domains: Collection[str]) -> Known:
        if self.is_down:
            raise Unavailable("postgres", "down")
        found = [entry for entry in self.entries.values() if entry.message in messages]
        owners = {name: OWNERS[name] for name in domains if name in OWNERS}
        return Known(
            found, {each: self.heads[each] for each in messages if each in self.heads}, owners
        )

    async def write(self, entries: Sequence[IndexedMessage]) -> None:
        self.writes += 1
        for entry in entries:
            key = (entry.message, entry.tenant, entry.recipient)
            if key not in self.entries or self.entries[key].at <= entry.at:
                self.entries[key] = entry

    async def search(
        self,
        tenant: UUID | None,
        which: MessageFilter,
        after: Place | None,
        limit: int,
        *,
        oldest_first: bool = False,
    ) -> Sequence[IndexedMessage]:
        raise AssertionError("nobody searches")

    async def total(self, tenant: UUID | None, which: MessageFilter) -> int:
        raise AssertionError("nobody counts")

    async def forget(self, seconds: float) -> int:
        raise AssertionError("nobody forgets")

    def seen(self) -> dict[tuple[UUID | None, str], tuple[str, str]]:
        """Return direction and outcome by tenant and recipient."""
        return {
            (entry.tenant, entry.recipient): (entry.direction, entry.outcome)
            for entry in self.entries.values()
        }


def accepted(message: UUID, *to: str, tenant: UUID | None = None, **about: Any) -> Event:
    detail = {"to": list(to), "recipients": len(to), "reverse_path": "eve@evil.test", **about}
    return Event(message, 1.0, ACCEPTED, {**detail, "tenant": str(tenant) if tenant else None})


async def indexed(index: Index, *events: Event, hold: float = 0.0) -> Indexer:
    indexer = Indexer(index, 1.0, hold_seconds=hold)
    for event in events:
        indexer.add(event)
    await indexer.work()
    return indexer


async def test_a_message_that_came_in_and_was_delivered_is_one_write() -> None:
    index, message = Index(), new_id()
    head: dict[str, Any] = {
        "from": "Eve <Eve@evil.test>",
        "subject": "=?utf-8?q?Gr=C3=BC=C3=9Fe?=",
        "size": 9,
    }
    await indexed(
        index,
        accepted(message, "Ann@acme.test", message_id="<1@evil.test>", **head),
        Event(message, 2.0, DELIVERED, {"recipients": ["ann@acme.test"]}),
        Event(message, 3.0, READ, {"account": "ann@acme.test"}),
        hold=60.0,
    )
    (entry,) = index.entries.values()
    assert index.writes == 1
    assert (entry.tenant, entry.recipient) == (ACME, "ann@acme.test")
    assert (entry.direction, entry.outcome, entry.kind) == ("inbound", "delivered", "delivered")
    assert entry.head == MessageHead(
        "eve@evil.test", "eve@evil.test", "Grüße", "<1@evil.test>", 9, None
    )


async def test_what_waits_is_held_back_and_then_written() -> None:
    index, message = Index(), new_id()
    indexer = await indexed(index, accepted(message, "ann@acme.test"), hold=60.0)
    assert not index.entries
    indexer = await indexed(index, accepted(message, "ann@acme.test"))
    assert index.seen() == {(ACME, "ann@acme.test"): ("inbound", "accepted")}
    indexer.add(Event(message, 2.0, DELIVERED, {"recipients": ["ann@acme.test"]}))
    await indexer.work()
    assert index.seen() == {(ACME, "ann@acme.test"): ("inbound", "delivered")}


async def test_each_tenant_has_its_own_view() -> None:
    index, message = Index(), new_id()
    mine, theirs, away = "ann@acme.test", "bob@other.test", "eve@home.test"
    await indexed(
        index,
        accepted(message, mine, theirs, away, tenant=ACME),
        Event(message, 2.0, DELIVERED, {"recipients": [mine]}),
        Event(message, 2.0, QUEUED, {"recipients": [away]}),
        Event(message, 2.0, QUARANTINED, {"recipient": theirs, "reason": "virus", "rule": "x"}),
        Event(message, 4.0, DELIVERED, {"recipient": away, "host": "mx", "reply": "250 ok"}),
        Event(message, 3.0, DEFERRED, {"recipient": away, "host": "mx", "reply": "450 no"}),
    )
    assert index.seen() == {
        (ACME, mine): ("internal", "delivered"),
        (ACME, theirs): ("outbound", "accepted"),
        (OTHER, theirs): ("inbound", "quarantined"),
        (ACME, away): ("outbound", "relayed"),
    }
    relayed = index.entries[message, ACME, away]
    assert relayed.detail == {"host": "mx", "reply": "250 ok"}


async def test_where_an_alias_leads_is_for_its_owner_alone() -> None:
    index, message = Index(), new_id()
    alias = "team@other.test"
    await indexed(
        index,
        accepted(message, alias, tenant=ACME),
        Event(message, 2.0, QUEUED, {"recipients": ["private@home.test"]}),
    )
    assert index.seen() == {
        (ACME, alias): ("outbound", "queued"),
        (OTHER, alias): ("inbound", "queued"),
    }
    away = {"recipient": "private@home.test", "original": alias, "status": "4.4.7"}
    await indexed(index, Event(message, 3.0, BOUNCED, away))
    assert {outcome for _, outcome in index.seen().values()} == {"expired"}
    assert index.entries[message, OTHER, alias].targets == ("private@home.test",)
    assert index.entries[message, ACME, alias].targets == ()


async def test_junk_stays_junk_and_repeats_change_nothing() -> None:
    index, message = Index(), new_id()
    events = [
        accepted(message, "ann@acme.test"),
        Event(message, 2.0, FILED, {"recipient": "ann@acme.test", "action": "junk"}),
        Event(message, 2.0, DELIVERED, {"recipients": ["ann@acme.test"]}),
    ]
    await indexed(index, *events)
    before = dict(index.entries)
    await indexed(index, *events, *reversed(events))
    assert index.entries == before
    assert index.seen() == {(ACME, "ann@acme.test"): ("inbound", "junk")}


async def test_refusals_are_found_whether_or_not_there_was_a_recipient() -> None:
    index, known, early = Index(), new_id(), new_id()
    refused = {"reverse_path": "eve@evil.test", "reply": "550 5.1.1 no", "client": "192.0.2.1"}
    await indexed(
        index,
        Event(known, 1.0, REFUSED, {**refused, "recipients": ["x@acme.test", "y@elsewhere.test"]}),
        Event(early, 1.0, REFUSED, {**refused, "recipients": [], "tenant": str(ACME)}),
    )
    assert index.seen() == {
        (ACME, "x@acme.test"): ("inbound", "refused"),
        (None, "y@elsewhere.test"): ("inbound", "refused"),
        (ACME, ""): ("outbound", "refused"),
    }
    assert index.entries[known, ACME, "x@acme.test"].detail["client"] == "192.0.2.1"


async def test_of_a_message_that_nobody_submitted_the_store_tells() -> None:
    index, message = Index(), new_id()
    index.heads[message] = MessageHead("", "mailer-daemon@acme.test", "Undeliverable", sender=ACME)
    await indexed(index, Event(message, 2.0, QUEUED, {"recipients": ["x@home.test"]}))
    (entry,) = index.entries.values()
    assert (entry.tenant, entry.direction, entry.head.subject) == (
        ACME,
        "outbound",
        "Undeliverable",
    )


async def test_a_store_that_is_down_costs_nothing() -> None:
    index, message = Index(), new_id()
    index.is_down = True
    indexer = await indexed(index, accepted(message, "ann@acme.test"))
    index.is_down = False
    await indexer.work()
    assert index.seen() == {(ACME, "ann@acme.test"): ("inbound", "accepted")}


class Slow(Index):
    """Cannot write much in the time that a statement has; nothing at all while it is full."""

    most = 0
    is_full = False

    async def write(self, entries: Sequence[IndexedMessage]) -> None:
        self.most = max(self.most, len(entries))
        if self.is_full or len(entries) > 5000:
            raise Unavailable("postgres", "QueryCanceledError 57014")
        await super().write(entries)


async def test_a_backlog_is_written_in_parts_that_a_statement_has_time_for() -> None:
    index = Slow()
    names = [f"u{number}@acme.test" for number in range(100)]
    await indexed(index, *(accepted(new_id(), *names) for _ in range(120)))
    assert (len(index.entries), index.most) == (12_000, 2000)


async def test_what_cannot_be_written_for_long_is_bounded() -> None:
    index = Slow()
    index.is_full = True
    indexer = await indexed(index)
    for _ in range(12):
        for _ in range(2500):
            indexer.add(accepted(new_id(), "ann@acme.test"))
        await indexer.work()
    assert len(indexer._held) <= 7000
    index.is_full = False
    await indexer.work()
    assert not indexer._held
    assert not indexer._waiting


@pytest.mark.parametrize(
    "detail",
    [
        {"to": "ann@acme.test"},
        {"to": [1, None, {}], "size": -1, "subject": 7, "tenant": "x"},
        {"to": ["\ud800@acme.test\0", "@", ""], "author": [], "from": "\0<"},
    ],
)
async def test_what_makes_no_sense_harms_nothing(detail: dict[str, Any]) -> None:
    index, message = Index(), new_id()
    await indexed(
        index,
        Event(new_id(), float("nan"), ACCEPTED, detail),
        Event(new_id(), 1.0, REFUSED, detail),
        Event(new_id(), 1.0, BOUNCED, {"recipient": 5, "original": 6, "status": []}),
        Event(new_id(), 1.0, BOUNCED, {"recipient": "x@acme.test", "status": []}),
        accepted(message, "ann@acme.test"),
    )
    assert (message, ACME, "ann@acme.test") in index.entries


def test_terms_of_an_entry_and_of_a_query() -> None:
    terms = terms_of(
        ["eve@evil.test"],
        ["ann@acme.test", ""],
        "<Abc@Evil.test>",
        "Re: Rechnung Nr. 42, RECHNUNG",
        ["inbound", ""],
    )
    assert " ".join(terms) == (
        "=inbound <eve@evil.test <@evil.test >ann@acme.test >@acme.test abc@evil.test"
        " re rechnung nr 42"
    )
    assert asked_for("Ann@ACME.test") == [
        (("<ann@acme.test",), (">ann@acme.test",), ("ann@acme.test",))
    ]
    assert asked_for("<Abc@Evil.test> rechnung,42")[1:] == [(("rechnung", "42"),)]
    assert asked_for("acme.test") == [(("acme", "test"), ("<@acme.test",), (">@acme.test",))]
    assert asked_for(" ... ") == []
    assert subject_words("Your invoice") == [(("your", "invoice"),)]
    assert named(SENDER, "Acme.test") == named(SENDER, "@acme.TEST") == "<@acme.test"
    assert len(terms_of([], ["x" * 400], "", " ".join(map(str, range(99))))) == 64
