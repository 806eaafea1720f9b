"""Events of filing: whose they are, how they count, and which webhooks are told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from posthorn.model.events import (
    ACCEPTED,
    CLASSIFIED,
    DELIVERED,
    FILED,
    QUARANTINED,
    REFUSED,
    RESTORED,
    SCANNED,
    Event,
)
from posthorn.ports.statistics import Facts, Slot
from posthorn_api.events.counting import asked_of, counted
from posthorn_api.queue.trace_sight import domains_in, visible_to
from posthorn_api.webhooks.matching import KINDS

ONE, OTHER, MESSAGE = uuid4(), uuid4(), uuid4()
BOTH = ["ann@one.test", "bob@other.test"]
HOUR = datetime(2027, 1, 15, 12, tzinfo=UTC)


def event(kind: str, **detail: Any) -> Event:
    return Event(MESSAGE, HOUR.timestamp() + 5, kind, detail)


FILTERED = [
    event(SCANNED, recipients=BOTH, score=8.0),
    event(DELIVERED, recipients=BOTH),
    event(FILED, recipient="ann@one.test", action="junk", reason="score"),
    event(FILED, recipient="cat@one.test", action="mark", reason="score"),
    event(QUARANTINED, recipient="bob@other.test", reason="virus"),
    event(RESTORED, recipient="bob@other.test", by="key:x"),
    event(CLASSIFIED, account="ann@one.test", classification="spam"),
]


def test_a_recipients_tenant_sees_what_happened_to_its_own_copies() -> None:
    assert domains_in(FILTERED) == {"one.test", "other.test"}
    seen = visible_to(ONE, FILTERED, set(), is_sender=False, domains={"one.test"})
    assert [each.kind for each in seen] == [SCANNED, DELIVERED, FILED, FILED, CLASSIFIED]
    assert [each.detail["recipients"] for each in seen[:2]] == [["ann@one.test"]] * 2
    other = visible_to(OTHER, FILTERED, set(), is_sender=False, domains={"other.test"})
    assert [each.kind for each in other] == [SCANNED, DELIVERED, QUARANTINED, RESTORED]
    assert visible_to(uuid4(), FILTERED, set(), is_sender=False) == []


def test_a_senders_tenant_does_not_learn_how_others_filed_its_message() -> None:
    accepted = event(ACCEPTED, tenant=str(ONE))
    seen = visible_to(ONE, [accepted, *FILTERED], set(), is_sender=True, domains={"one.test"})
    assert QUARANTINED not in [each.kind for each in seen]
    assert [each.kind for each in seen].count(FILED) == 2


def test_a_refusal_is_seen_by_every_tenant_it_was_for_and_by_nobody_else() -> None:
    refused = event(REFUSED, recipients=BOTH, reason="dmarc", reply="550 5.7.26 no")
    for tenant, domain, name in ((ONE, "one.test", BOTH[0]), (OTHER, "other.test", BOTH[1])):
        (seen,) = visible_to(tenant, [refused], set(), is_sender=False, domains={domain})
        assert (seen.detail["recipients"], seen.detail["reason"]) == ([name], "dmarc")
    assert visible_to(uuid4(), [refused], set(), is_sender=False, domains={"x.test"}) == []


def test_refused_withheld_and_junk_count_by_reason() -> None:
    events = [
        *FILTERED,
        event(REFUSED, recipients=BOTH, reason="dmarc", reply="550 5.7.26 no"),
        event(REFUSED, recipients=BOTH, reason="scan", reply="451 4.7.1 later"),
        event(REFUSED, recipients=["ann@one.test"], reason="Not a / word", reply="550 x"),
    ]
    queued, sized, names = asked_of(events)
    assert (queued, sized, names) == (set(), {MESSAGE}, {"one.test", "other.test"})
    facts = Facts({}, {MESSAGE: 100}, {"one.test": ONE, "other.test": OTHER})
    counts = counted(events, facts)
    assert {slot: count.messages for slot, count in counts.items()} == {
        Slot(ONE, "one.test", HOUR, "delivered"): 1,
        Slot(OTHER, "other.test", HOUR, "delivered"): 1,
        Slot(ONE, "one.test", HOUR, "junk/score"): 1,
        Slot(OTHER, "other.test", HOUR, "quarantined/virus"): 1,
        Slot(ONE, "one.test", HOUR, "refused/dmarc"): 1,
        Slot(OTHER, "other.test", HOUR, "refused/dmarc"): 1,
        Slot(ONE, "one.test", HOUR, "refused/other"): 1,
    }


def test_webhooks_can_be_told_of_all_of_them() -> None:
    assert {SCANNED, REFUSED, FILED, QUARANTINED, RESTORED, CLASSIFIED} <= set(KINDS)
