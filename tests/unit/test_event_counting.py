"""Events as counters: what is counted for whom, and what makes no sense is left out."""

from __future__ import annotations

import math
from datetime import UTC, datetime
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
    REFUSED,
    SHARES,
    Event,
    encode_event,
    share_of,
)
from posthorn.ports.statistics import NO_TENANT, Count, Facts, Row, Slot
from posthorn.ports.webhooks import Webhook, WebhookState
from posthorn.runtime.ids import new_id
from posthorn_api.events.counting import asked_of, counted, counted_by_route
from posthorn_api.webhooks.matching import wanted

NOON = 1_800_014_400.0
HOUR = datetime(2027, 1, 15, 12, tzinfo=UTC)
TENANT, OTHER = new_id(), new_id()
MESSAGE = new_id()
FACTS = Facts(
    {MESSAGE: [Row(TENANT, "bob@far.test", "", "a@acme.test")]},
    {MESSAGE: 4096},
    {"acme.test": TENANT, "other.test": OTHER},
)


def counts(*events: tuple[str, dict[str, Any]], at: float = NOON) -> dict[str, Count]:
    """Counters of a tenant's mail by ``domain outcome``; those of another tenant begin with
    ``other:``."""
    made = counted([Event(MESSAGE, at, kind, detail) for kind, detail in events], FACTS)
    assert all(slot.hour == HOUR for slot in made)
    owners = {TENANT: "", OTHER: "other:"}
    return {f"{owners[slot.tenant]}{slot.domain} {slot.outcome}": n for slot, n in made.items()}


def test_events_of_all_kinds_add_up() -> None:
    sent = {"tenant": str(TENANT), "account": "a@ACME.test", "size": 7}
    made = counts(
        (ACCEPTED, sent),
        (ACCEPTED, {**sent, "size": 5}),
        (ACCEPTED, {"size": 9}),
        (QUEUED, {"recipients": ["bob@far.test"]}),
        (DELIVERED, {"recipients": ["b@acme.test", "c@other.test", "d@acme.test", "e@far.test"]}),
        (DELIVERED, {"recipient": "bob@far.test"}),
        (DEFERRED, {"recipient": "bob@far.test"}),
        (DEFERRED, {"recipient": "gone@other.test"}),
        (FILED, {"recipient": "b@acme.test", "action": "junk", "reason": "score"}),
        (FILED, {"recipient": "b@acme.test", "action": "mark", "reason": "score"}),
        (QUARANTINED, {"recipient": "b@acme.test", "reason": "No Reason"}),
        (REFUSED, {"recipients": ["b@acme.test"], "reason": "dmarc", "reply": "550 5.7.1 no"}),
        (REFUSED, {"recipients": ["b@acme.test"], "reason": "dmarc", "reply": "451 4.7.1 later"}),
    )
    assert made == {
        "acme.test accepted": Count(2, 12),
        "acme.test delivered": Count(2, 2 * 4096),
        "other:other.test delivered": Count(1, 4096),
        "acme.test relayed": Count(1, 4096),
        "acme.test deferred": Count(1, 0),
        "other:other.test deferred": Count(1, 0),
        "acme.test junk/score": Count(1, 0),
        "acme.test quarantined/other": Count(1, 0),
        "acme.test refused/dmarc": Count(1, 0),
    }


@pytest.mark.parametrize("at", [math.nan, math.inf, -math.inf, 1e30, 1.7e308, -1e15])
def test_a_time_that_makes_no_sense_counts_nowhere(at: float) -> None:
    detail = {"tenant": str(TENANT), "account": "a@acme.test", "size": 1}
    assert counted([Event(MESSAGE, at, ACCEPTED, detail)], FACTS) == {}


@pytest.mark.parametrize(
    ("detail", "found"),
    [
        ({"tenant": "nonsense", "size": 1}, {}),
        ({"tenant": 7}, {}),
        ({"tenant": str(TENANT) * 1000}, {}),
        ({"tenant": str(TENANT), "size": "large"}, {" accepted": Count(1, 0)}),
        ({"tenant": str(TENANT), "size": 2**60}, {" accepted": Count(1, 0)}),
        ({"tenant": str(TENANT), "account": "key:robot"}, {" accepted": Count(1, 0)}),
        ({"tenant": str(TENANT), "account": "a@" + "x" * 5000}, {" accepted": Count(1, 0)}),
        ({"tenant": str(TENANT), "account": ["a@acme.test"]}, {" accepted": Count(1, 0)}),
    ],
)
def test_a_detail_that_makes_no_sense_is_left_out(
    detail: dict[str, Any], found: dict[str, Count]
) -> None:
    assert counts((ACCEPTED, detail)) == found


def test_recipients_tried_by_a_route_are_counted_in_steps_of_five_minutes() -> None:
    def tried(kind: str, at: float, **detail: object) -> Event:
        return Event(MESSAGE, at, kind, {"recipient": "bob@far.test", **detail})

    made = counted_by_route(
        [
            tried(DELIVERED, NOON, route="far.test"),
            tried(DELIVERED, NOON + 299.9, route="far.test"),
            tried(DEFERRED, NOON, route="far.test"),
            tried(BOUNCED, NOON, route="*"),
            tried(DELIVERED, NOON + 300, route="*"),
            tried(DELIVERED, NOON),
            tried(DELIVERED, NOON, route=""),
            tried(DELIVERED, NOON, route=["far.test"]),
            tried(DELIVERED, math.nan, route="far.test"),
            tried(QUEUED, NOON, route="far.test"),
        ]
    )
    later = HOUR.replace(minute=5)
    assert made == {
        Slot(NO_TENANT, "far.test", HOUR, "tried/delivered"): Count(2, 0),
        Slot(NO_TENANT, "far.test", HOUR, "tried/deferred"): Count(1, 0),
        Slot(NO_TENANT, "*", HOUR, "tried/refused"): Count(1, 0),
        Slot(NO_TENANT, "*", later, "tried/delivered"): Count(1, 0),
    }


def test_recipients_that_are_no_list_of_addresses_are_no_local_delivery() -> None:
    assert counts((DELIVERED, {"recipients": [None, 3, "", "b@", "@", "\ud800@x"]})) == {}
    assert counts((DELIVERED, {"recipients": "b@acme.test"})) == {}


def test_only_what_is_counted_is_asked_for() -> None:
    events = [
        Event(MESSAGE, NOON, ACCEPTED, {"tenant": str(TENANT)}),
        Event(MESSAGE, NOON, DELIVERED, {"recipients": ["B@Acme.Test", "x@"]}),
        Event(MESSAGE, NOON, DEFERRED, {"recipient": "bob@far.test"}),
    ]
    assert asked_of(events) == ({MESSAGE}, {MESSAGE}, {"acme.test", "far.test"})


def test_all_events_of_a_message_are_in_one_share_and_messages_in_all() -> None:
    ids = [UUID(int=n) for n in range(64)]
    shares = [
        {share_of(encode_event(Event(one, at, kind, {}))) for at, kind in ((1.0, "a"), (2.5, "b"))}
        for one in ids
    ]
    assert all(len(each) == 1 for each in shares)
    by_share = [sum(each == {share} for each in shares) for share in range(SHARES)]
    assert by_share == [len(ids) // SHARES] * SHARES


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"\xff" * 47, b"\xff" * 60, b"n" * 60, b'{"message": 1}']
)
def test_a_line_that_is_no_event_has_a_share_too(line: bytes) -> None:
    assert share_of(line) == 0


def test_slots_of_one_domain_and_two_tenants_stay_apart() -> None:
    events = [
        Event(MESSAGE, NOON, ACCEPTED, {"tenant": str(tenant), "account": "a@acme.test"})
        for tenant in (TENANT, OTHER, TENANT)
    ]
    assert counted(events, FACTS) == {
        Slot(TENANT, "acme.test", HOUR, "accepted"): Count(2, 0),
        Slot(OTHER, "acme.test", HOUR, "accepted"): Count(1, 0),
    }


def test_refusals_of_which_a_part_is_left_out_are_neither_counted_nor_told() -> None:
    detail = {"recipients": ["b@acme.test"], "reason": "unknown-recipient", "reply": "550 5.1.1 no"}
    partial = Event(MESSAGE, NOON, REFUSED, {**detail, "stage": "rcpt"})
    assert counts((REFUSED, dict(partial.detail))) == {}
    assert counts((REFUSED, detail)) == {
        "acme.test refused/unknown-recipient": Count(1, 0),
    }
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    webhook = Webhook(
        new_id(), None, "", ("*",), None, WebhookState.ACTIVE, long_ago, long_ago, b""
    )
    final = Event(MESSAGE, NOON, REFUSED, detail)
    assert wanted([partial, final], [webhook]) == [final]
