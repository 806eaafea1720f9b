"""Mailboxes over the REST API: searching, moving, deleting and bringing back, and what retention
does to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from posthorn.adapters.postgres.mailboxes import messages as account_mail
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.mailboxes.maildrops import PostgresMaildrops
from posthorn.adapters.postgres.mailboxes.retention import PostgresRetention
from posthorn.ports.errors import Unavailable
from posthorn.runtime.brakes import Brake
from posthorn.runtime.ids import new_id
from posthorn.wire.message.header import Summary
from posthorn_delivery.collector_settings import CollectorSettings
from posthorn_delivery.retention import RetentionSweeper
from tests.support.api import Api, problem
from tests.support.builders import make_message, make_segment
from tests.support.databases import pool
from tests.support.seed import DatabaseSeed

pytestmark = pytest.mark.usefixtures("alice")

ALICE = "/v1/accounts/alice@example.test"


@pytest.fixture
async def seed(database_url: str) -> AsyncIterator[DatabaseSeed]:
    async with pool(database_url, by_key=True) as database:
        yield DatabaseSeed(database)


async def alice(seed: DatabaseSeed) -> int:
    number: int = await seed.value("SELECT id FROM accounts WHERE address = 'alice@example.test'")
    return number


async def deliver(
    seed: DatabaseSeed, *subjects: str, sender: str = "Sender", size: int = 1000, at: float = 1.8e9
) -> list[str]:
    account = await alice(seed)
    messages, offset = [], 0
    for number, subject in enumerate(subjects):
        made = make_message([account], size=size, offset=offset, received_at=at + number)
        summary = Summary(subject, sender, "today", f"<{number}@elsewhere.test>")
        messages.append(replace(made, envelope=replace(made.envelope, summary=summary)))
        offset += size
    await PostgresMailboxes(seed.database).deliver([make_segment(messages)])
    return [str(each.envelope.id) for each in messages]


async def listed(api: Api, limit: int = 50, **query: Any) -> list[str]:
    """The subjects of all pages."""
    found: list[str] = []
    asked = {"limit": limit, **query}
    for _ in range(100):
        document = (await api.client.get(f"{ALICE}/messages", params=asked)).json()
        assert len(document["items"]) <= limit
        found += [item["subject"] for item in document["items"]]
        if document["next_cursor"] is None:
            return found
        asked["cursor"] = document["next_cursor"]
    raise AssertionError("the list does not end")


async def boxes(api: Api) -> dict[str, tuple[int, int, int]]:
    items = (await api.client.get(f"{ALICE}/mailboxes")).json()["items"]
    return {item["name"]: (item["messages"], item["unseen"], item["size_bytes"]) for item in items}


async def window(api: Api, days: int) -> None:
    answer = await api.client.patch("/v1/domains/example.test", json={"undelete_days": days})
    assert answer.status_code == 200


async def test_mailboxes_are_listed_made_and_deleted(api: Api, seed: DatabaseSeed) -> None:
    await deliver(seed, "one", "two")
    await seed.entries("UPDATE mailbox_entries SET flags = 1 WHERE uid = 1")
    new = await api.client.post(f"{ALICE}/mailboxes", json={"name": "Work/Ärger 2026"})
    assert new.status_code == 201
    assert new.headers["location"] == f"{ALICE}/mailboxes/Work/%C3%84rger%202026"
    assert await boxes(api) == {
        "INBOX": (2, 1, 2000),
        "Junk": (0, 0, 0),
        "Sent": (0, 0, 0),
        "Trash": (0, 0, 0),
        "Drafts": (0, 0, 0),
        "Archive": (0, 0, 0),
        "Work/Ärger 2026": (0, 0, 0),
    }
    for name in ("Work/Ärger 2026", "Work/A\u0308rger 2026", "inbox", "Trash"):
        problem(await api.client.post(f"{ALICE}/mailboxes", json={"name": name}), 409, "conflict")
    for name in (
        "/a",
        "a/",
        "a//b",
        " a",
        ".a",
        "a/.b",
        "a/../b",
        "a/cur",
        "new",
        "a*",
        "a%",
        "a\\b",
        "é" * 128,
        "a\u2028b",
        '"',
    ):
        problem(
            await api.client.post(f"{ALICE}/mailboxes", json={"name": name}), 422, "invalid", "name"
        )
    problem(await api.client.delete(f"{ALICE}/mailboxes/INBOX"), 409, "conflict")
    problem(await api.client.delete(f"{ALICE}/mailboxes/nowhere"), 404, "not-found")
    (first, *_) = (await api.client.get(f"{ALICE}/messages")).json()["items"]
    await api.client.post(
        f"{ALICE}/messages/{first['id']}/move", json={"mailbox": "Work/Ärger 2026"}
    )
    problem(await api.client.delete(new.headers["location"]), 409, "conflict")
    await api.client.post(f"{ALICE}/messages/{first['id']}/move", json={"mailbox": "Trash"})
    assert (await api.client.delete(new.headers["location"])).status_code == 204
    problem(await api.client.delete(new.headers["location"]), 404, "not-found")
    await seed.sums_hold()


async def test_a_mailbox_made_again_is_another_one(api: Api) -> None:
    seen = set()
    for _ in range(3):
        made = (await api.client.post(f"{ALICE}/mailboxes", json={"name": "Box"})).json()
        seen.add(made["uidvalidity"])
        other = (
            await api.client.post(f"{ALICE}/mailboxes", json={"name": f"Box {len(seen)}"})
        ).json()
        assert other["uidvalidity"] > made["uidvalidity"]
        await api.client.delete(f"{ALICE}/mailboxes/Box")
    assert len(seen) == 3


async def test_a_repeat_of_a_creation_is_the_same_answer(api: Api) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await api.client.post(f"{ALICE}/mailboxes", json={"name": "Box"}, headers=headers)
    again = await api.client.post(f"{ALICE}/mailboxes", json={"name": "Box"}, headers=headers)
    assert (again.status_code, again.content) == (201, first.content)


@pytest.mark.parametrize("limit", [1, 3, 50])
async def test_messages_are_searched(api: Api, seed: DatabaseSeed, limit: int) -> None:
    await deliver(seed, "Invoice 1", "Greetings", "invoice 2", sender="Ann <ann@elsewhere.test>")
    await deliver(
        seed,
        "=?utf-8?q?Gr=C3=BC=C3=9Fe?=",
        "100% sure_ly",
        sender="=?utf-8?q?J=C3=BCrgen?=",
        size=5000,
        at=1.9e9,
    )
    await seed.entries("UPDATE mailbox_entries SET flags = 1 WHERE uid IN (1, 5)")
    assert await listed(api, limit) == [
        "100% sure_ly",
        "Grüße",
        "invoice 2",
        "Greetings",
        "Invoice 1",
    ]
    assert await listed(api, limit, subject="INVOICE") == ["invoice 2", "Invoice 1"]
    assert await listed(api, limit, subject="grüß") == ["Grüße"]
    assert await listed(api, limit, subject="utf-8") == [], "the coding is no part of the text"
    assert await listed(api, limit, subject="%") == ["100% sure_ly"]
    assert await listed(api, limit, subject="e_l") == ["100% sure_ly"]
    assert await listed(api, limit, **{"from": "jürgen"}) == ["100% sure_ly", "Grüße"]
    assert await listed(api, limit, **{"from": "ann@", "seen": "true"}) == ["Invoice 1"]
    assert await listed(api, limit, message_id="<2@ELSEWHERE") == ["invoice 2"]
    assert await listed(api, limit, larger=1000) == ["100% sure_ly", "Grüße"]
    assert await listed(api, limit, smaller=5000, seen="false") == ["invoice 2", "Greetings"]
    assert await listed(api, limit, since="2030-01-01T00:00:00Z") == ["100% sure_ly", "Grüße"]
    assert await listed(api, limit, until="2030-01-01T00:00:00Z", subject="Greet") == ["Greetings"]
    assert await listed(api, limit, subject="nothing like it") == []
    assert await listed(api, limit, mailbox="Junk", subject="x") == []


async def test_a_page_of_a_search_looks_at_so_many_messages_and_no_more(
    api: Api, seed: DatabaseSeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_mail, "_LOOKED_AT", 4)
    await deliver(seed, "needle", *(f"hay {number}" for number in range(10)), "needle")
    first = (await api.client.get(f"{ALICE}/messages", params={"subject": "needle"})).json()
    assert [item["uid"] for item in first["items"]] == [12]
    query = {"subject": "needle", "cursor": first["next_cursor"]}
    second = (await api.client.get(f"{ALICE}/messages", params=query)).json()
    assert second["items"] == []
    assert second["next_cursor"]
    assert await listed(api, subject="needle") == ["needle", "needle"]


async def test_what_cannot_be_searched_for_is_named(api: Api) -> None:
    for name, value in {
        "since": "yesterday",
        "until": "2030-01-01T00:00:00",
        "larger": "-1",
        "seen": "perhaps",
    }.items():
        problem(
            await api.client.get(f"{ALICE}/messages", params={name: value}), 422, "invalid", name
        )


async def test_a_message_moves(api: Api, seed: DatabaseSeed) -> None:
    (message, _) = await deliver(seed, "it", "other")
    await seed.entries("UPDATE mailbox_entries SET flags = 5, keywords = '{work}' WHERE uid = 1")
    moved = await api.client.post(f"{ALICE}/messages/{message}/move", json={"mailbox": "Trash"})
    assert moved.status_code == 200
    shown = moved.json()
    assert (shown["mailbox"], shown["uid"], shown["flags"], shown["keywords"]) == (
        "Trash",
        1,
        ["seen", "flagged"],
        ["work"],
    )
    again = await api.client.post(f"{ALICE}/messages/{message}/move", json={"mailbox": "Trash"})
    assert again.json() == shown, "it is there already"
    back = await api.client.post(f"{ALICE}/messages/{message}/move", json={"mailbox": "inbox"})
    assert (back.json()["mailbox"], back.json()["uid"]) == ("INBOX", 3)
    assert await boxes(api) == {
        "INBOX": (2, 1, 2000),
        "Junk": (0, 0, 0),
        "Sent": (0, 0, 0),
        "Trash": (0, 0, 0),
        "Drafts": (0, 0, 0),
        "Archive": (0, 0, 0),
    }
    problem(
        await api.client.post(f"{ALICE}/messages/{message}/move", json={"mailbox": "x"}),
        422,
        "invalid",
        "mailbox",
    )
    problem(
        await api.client.post(f"{ALICE}/messages/{new_id()}/move", json={"mailbox": "Trash"}),
        404,
        "not-found",
    )
    await seed.sums_hold()
    lines = (await api.client.get("/v1/audit", params={"action": "message.move"})).json()["items"]
    assert lines[0]["details"] == {"message": message, "from": "Trash", "to": "INBOX"}
    assert len(lines) == 3


async def deleted(api: Api, limit: int = 50) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": limit}
    while True:
        document = (await api.client.get(f"{ALICE}/deleted", params=query)).json()
        found += document["items"]
        if document["next_cursor"] is None:
            return found
        query["cursor"] = document["next_cursor"]


async def test_a_deleted_message_comes_back_within_its_time(api: Api, seed: DatabaseSeed) -> None:
    await window(api, 7)
    account = await alice(seed)
    one, two = await deliver(seed, "one", "two")
    await seed.entries("UPDATE mailbox_entries SET flags = 9, keywords = '{work}' WHERE uid = 1")
    assert (await api.client.delete(f"{ALICE}/messages/{one}")).status_code == 204
    await seed.sums_hold()
    assert await seed.used(account) == (1000, 1)
    assert await seed.value("SELECT live_octets FROM segments") == 2000, "its octets stay"
    problem(await api.client.get(f"{ALICE}/messages/{one}"), 404, "not-found")
    (shown,) = await deleted(api)
    assert (shown["message"]["subject"], shown["message"]["mailbox"], shown["message"]["uid"]) == (
        "one",
        "INBOX",
        0,
    )
    assert shown["until"][:10] > shown["deleted_at"][:10]

    back = await api.client.post(
        f"{ALICE}/messages/{one}/undelete", headers={"Idempotency-Key": "k"}
    )
    assert (back.status_code, back.json()["uid"], back.json()["flags"]) == (200, 3, ["seen"])
    assert back.json()["keywords"] == ["work"]
    await seed.sums_hold()
    assert await seed.used(account) == (2000, 2)
    assert await deleted(api) == []
    problem(await api.client.post(f"{ALICE}/messages/{one}/undelete"), 404, "not-found")

    await api.client.delete(f"{ALICE}/messages/{two}")
    await seed.rows("UPDATE deleted_entries SET deleted_at = deleted_at - interval '8 days'")
    assert await deleted(api) == []
    problem(await api.client.post(f"{ALICE}/messages/{two}/undelete"), 404, "not-found")


async def test_without_a_window_what_is_deleted_is_gone(api: Api, seed: DatabaseSeed) -> None:
    (one,) = await deliver(seed, "one")
    await api.client.delete(f"{ALICE}/messages/{one}")
    await seed.sums_hold()
    assert await seed.value("SELECT live_octets FROM segments") == 0
    assert await deleted(api) == []
    await window(api, 7)
    problem(await api.client.post(f"{ALICE}/messages/{one}/undelete"), 404, "not-found")


@pytest.mark.parametrize("limit", [1, 2, 50])
async def test_deleted_messages_are_listed_once_each(
    api: Api, seed: DatabaseSeed, limit: int
) -> None:
    await window(api, 7)
    made = await deliver(seed, *(str(number) for number in range(7)))
    for message in made:
        await api.client.delete(f"{ALICE}/messages/{message}")
    assert [each["message"]["id"] for each in await deleted(api, limit)] == list(reversed(made))
    for cursor in ("WzEsImEiXQ", "WzEsMV0", "x"):
        problem(
            await api.client.get(f"{ALICE}/deleted", params={"cursor": cursor}),
            422,
            "invalid",
            "cursor",
        )


async def test_what_was_deleted_over_pop3_comes_back_too(api: Api, seed: DatabaseSeed) -> None:
    await window(api, 7)
    account, holder = await alice(seed), new_id()
    made = await deliver(seed, "one", "two", "three")
    maildrops = PostgresMaildrops(seed.database)
    listing = await maildrops.open(account, holder)
    await maildrops.commit(account, holder, listing.uids[:2])
    await seed.sums_hold()
    assert await seed.used(account) == (1000, 1)
    assert [each["message"]["id"] for each in await deleted(api)] == [made[1], made[0]]
    assert (await api.client.post(f"{ALICE}/messages/{made[0]}/undelete")).status_code == 200
    await seed.sums_hold()
    assert await listed(api) == ["one", "three"]


async def test_two_entries_of_one_message_go_and_come_back_together(
    api: Api, seed: DatabaseSeed
) -> None:
    await window(api, 7)
    account = await alice(seed)
    (one,) = await deliver(seed, "one")
    for box, uid in ((1, 2), (4, 1)):  # as an IMAP COPY makes them
        await seed.entries(
            "INSERT INTO mailbox_entries (account_id, mailbox_id, uid, message_id, size_crlf, internal_date)"
            " VALUES ($1, $2, $3, $4, 1000, now())",
            *(account, box, uid, UUID(one)),
        )
    await seed.rows("UPDATE mailboxes SET uidnext = 3 WHERE mailbox_id IN (1, 4)")
    await seed.rows("UPDATE messages SET refs = 3")
    await seed.rows("UPDATE accounts SET used_bytes = 3000, used_messages = 3")
    await seed.sums_hold()
    assert (await api.client.delete(f"{ALICE}/messages/{one}")).status_code == 204
    await seed.sums_hold()
    assert len(await deleted(api)) == 3
    assert (await api.client.post(f"{ALICE}/messages/{one}/undelete")).status_code == 200
    await seed.sums_hold()
    assert [count for count, _, _ in (await boxes(api)).values()][:4] == [2, 0, 0, 1]
    moved = await api.client.post(f"{ALICE}/messages/{one}/move", json={"mailbox": "Junk"})
    assert moved.json()["mailbox"] == "Junk"
    await seed.sums_hold()
    assert [count for count, _, _ in (await boxes(api)).values()][:4] == [0, 3, 0, 0]


async def test_a_message_whose_mailbox_is_gone_comes_back_to_the_inbox(
    api: Api, seed: DatabaseSeed
) -> None:
    await window(api, 7)
    (one,) = await deliver(seed, "one")
    await api.client.post(f"{ALICE}/mailboxes", json={"name": "Box"})
    await api.client.post(f"{ALICE}/messages/{one}/move", json={"mailbox": "Box"})
    await api.client.delete(f"{ALICE}/messages/{one}")
    assert (await api.client.delete(f"{ALICE}/mailboxes/Box")).status_code == 204
    await api.client.post(f"{ALICE}/mailboxes", json={"name": "Other"})
    (shown,) = await deleted(api)
    assert shown["message"]["mailbox"] == "INBOX"
    back = await api.client.post(f"{ALICE}/messages/{one}/undelete")
    assert back.json()["mailbox"] == "INBOX", "not in the mailbox made after it"
    await seed.sums_hold()


async def test_there_must_be_room_for_what_comes_back(api: Api, seed: DatabaseSeed) -> None:
    await window(api, 7)
    (one, two) = await deliver(seed, "one", "two")
    await api.client.delete(f"{ALICE}/messages/{one}")
    await api.client.patch(ALICE, json={"quota_bytes": 1999})
    problem(await api.client.post(f"{ALICE}/messages/{one}/undelete"), 409, "conflict")
    await api.client.patch(ALICE, json={"quota_bytes": 2000})
    await seed.drain_outbox()
    assert (await api.client.post(f"{ALICE}/messages/{one}/undelete")).status_code == 200
    assert await seed.drain_outbox() == ["alice@example.test"], "it is full now"
    await api.client.delete(f"{ALICE}/messages/{two}")
    assert await seed.drain_outbox() == ["alice@example.test"]


async def test_an_account_goes_with_what_could_be_brought_back(
    api: Api, seed: DatabaseSeed
) -> None:
    await window(api, 7)
    (one, _) = await deliver(seed, "one", "two")
    await api.client.delete(f"{ALICE}/messages/{one}")
    assert (await api.client.delete(ALICE)).status_code == 204
    await seed.sums_hold()
    assert await seed.rows("SELECT sum(refs), sum(live_octets) FROM messages, segments") == [(0, 0)]
    assert await seed.rows("SELECT FROM deleted_entries") == []


async def test_deletions_returns_and_purges_at_once_keep_the_sums(
    api: Api, seed: DatabaseSeed
) -> None:
    await window(api, 1)
    made = await deliver(seed, *(str(number) for number in range(12)))
    for message in made[:6]:
        await api.client.delete(f"{ALICE}/messages/{message}")
    await seed.rows(
        "UPDATE deleted_entries SET deleted_at = deleted_at - interval '2 days' WHERE message_id = ANY ($1::uuid[])",
        made[:3],
    )
    retention = PostgresRetention(seed.database)
    await asyncio.gather(
        *(api.client.post(f"{ALICE}/messages/{message}/undelete") for message in made[:6]),
        *(api.client.delete(f"{ALICE}/messages/{message}") for message in made[4:]),
        *(retention.purge(2) for _ in range(3)),
        deliver(seed, "more"),
    )
    await seed.sums_hold()


def keeper(seed: DatabaseSeed, **settings: Any) -> RetentionSweeper:
    return RetentionSweeper(PostgresRetention(seed.database), CollectorSettings(**settings))


@pytest.mark.parametrize("batch", [1, 2, 500])
async def test_what_cannot_come_back_any_more_is_purged_exactly(
    api: Api, seed: DatabaseSeed, batch: int
) -> None:
    await api.domain("longer.test")
    await api.client.patch("/v1/domains/longer.test", json={"undelete_days": 365})
    await window(api, 7)
    made = await deliver(seed, *(str(number) for number in range(5)))
    for message in made[:4]:
        await api.client.delete(f"{ALICE}/messages/{message}")
    for days, message in enumerate(made[:4], start=5):
        shift = "UPDATE deleted_entries SET deleted_at = deleted_at - make_interval(days => $2) WHERE message_id = $1"
        await seed.rows(shift, UUID(message), days)
    assert await keeper(seed, retention_batch=batch).round() == (0, 2)
    await seed.sums_hold()
    assert await seed.value("SELECT live_octets FROM segments") == 3000
    assert [each["message"]["id"] for each in await deleted(api)] == [made[1], made[0]]
    await window(api, 0)
    assert await keeper(seed, retention_batch=batch).round() == (0, 0), "another leads"
    await seed.rows("DELETE FROM leaderships")
    assert await keeper(seed, retention_batch=batch).round() == (0, 2)
    await seed.sums_hold()


@pytest.mark.parametrize("days", [0, 7])
@pytest.mark.parametrize("batch", [1, 3, 500])
async def test_retention_deletes_what_is_older_than_its_domain_keeps(
    api: Api, seed: DatabaseSeed, days: int, batch: int
) -> None:
    await window(api, days)
    await api.account("zoe@example.test")
    now = float(await seed.value("SELECT extract(epoch FROM now())::float8"))
    await deliver(seed, *(f"old {number}" for number in range(4)), at=now - 31 * 86_400)
    await placed_before(seed, 31)
    await deliver(seed, "young", at=now - 29 * 86_400)
    rounds = keeper(seed, retention_batch=batch)
    assert await rounds.round() == (0, 0), "mail is kept for ever"
    await api.client.patch("/v1/domains/example.test", json={"retention_days": 30})
    await api.client.patch(ALICE, json={"quota_bytes": 3000})
    await seed.drain_outbox()
    assert await rounds.round() == (4, 0)
    await seed.sums_hold()
    assert await listed(api) == ["young"]
    assert await seed.drain_outbox() == ["alice@example.test"], "it takes mail again"
    assert len(await deleted(api)) == (4 if days else 0)
    assert await rounds.round() == (0, 0)


async def placed_before(seed: DatabaseSeed, days: int) -> None:
    await seed.rows("UPDATE messages SET placed_at = placed_at - make_interval(days => $1)", days)


async def test_fresh_mail_from_a_door_with_a_wrong_clock_is_not_old(
    api: Api, seed: DatabaseSeed
) -> None:
    await deliver(seed, "from the year 2001", at=1e9)
    await api.client.patch("/v1/domains/example.test", json={"retention_days": 30})
    rounds = keeper(seed)
    assert await rounds.round() == (0, 0)
    await placed_before(seed, 29)
    assert await rounds.round() == (0, 0)
    await placed_before(seed, 2)
    assert await rounds.round() == (1, 0)


def braked() -> float | None:
    return REGISTRY.get_sample_value("posthorn_brake_holding", {"brake": "retention"})


@pytest.mark.parametrize("batch", [1, 4, 500])
async def test_a_round_deletes_and_drops_no_more_than_its_brake_allows(
    api: Api, seed: DatabaseSeed, batch: int
) -> None:
    await window(api, 7)
    await deliver(seed, *(str(number) for number in range(10)), at=1e9)
    await placed_before(seed, 31)
    await api.client.patch("/v1/domains/example.test", json={"retention_days": 30})
    released = False
    brake = Brake("retention", 0.3, 1, lambda: released)
    settings = CollectorSettings(retention_batch=batch)
    rounds = RetentionSweeper(PostgresRetention(seed.database), settings, brake=brake)
    assert await rounds.round() == (3, 0)
    assert braked() == 1
    assert await rounds.round() == (3, 0), "the next round goes on"
    released = True
    assert await rounds.round() == (4, 0)
    assert braked() == 0
    await seed.rows("UPDATE deleted_entries SET deleted_at = deleted_at - interval '8 days'")
    released = False
    assert await rounds.round() == (0, 3)
    assert braked() == 1
    await seed.sums_hold()


async def test_nothing_is_deleted_while_it_is_not_certain_that_the_stores_belong_together(
    api: Api, seed: DatabaseSeed
) -> None:
    await deliver(seed, "old", at=1e9)
    await placed_before(seed, 31)
    await api.client.patch("/v1/domains/example.test", json={"retention_days": 30})

    async def uncertain() -> None:
        raise Unavailable("installation", "another one")

    rounds = RetentionSweeper(
        PostgresRetention(seed.database), CollectorSettings(), certain=uncertain
    )
    with pytest.raises(Unavailable, match="another one"):
        await rounds.round()
    assert await listed(api) == ["old"]


async def test_of_two_processes_one_does_the_rounds(seed: DatabaseSeed) -> None:
    first, second = PostgresRetention(seed.database), PostgresRetention(seed.database)
    assert await first.lead(60)
    assert not await second.lead(60)
    assert await first.lead(60)


async def test_what_could_be_brought_back_is_bounded_by_twice_the_quota(
    api: Api, seed: DatabaseSeed
) -> None:
    await window(api, 30)
    assert (await api.client.patch(ALICE, json={"quota_bytes": 3000})).status_code == 200
    made: list[str] = []
    for turn in range(5):  # filled and emptied again and again
        made += await deliver(seed, f"a {turn}", f"b {turn}", at=1.8e9 + 10 * turn)
        for message in made[-2:]:
            assert (await api.client.delete(f"{ALICE}/messages/{message}")).status_code == 204
        await seed.sums_hold()
    kept = (await api.client.get(f"{ALICE}/deleted")).json()["items"]
    assert {item["message"]["id"] for item in kept} == set(made[-6:])
    assert await seed.value("SELECT sum(live_octets)::bigint FROM segments") == 6000
    assert (await api.client.patch(ALICE, json={"quota_bytes": None})).status_code == 200
    (last,) = await deliver(seed, "last")
    assert (await api.client.delete(f"{ALICE}/messages/{last}")).status_code == 204
    assert len((await api.client.get(f"{ALICE}/deleted")).json()["items"]) == 7
