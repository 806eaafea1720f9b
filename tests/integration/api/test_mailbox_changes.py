"""Flags of messages, names of mailboxes and subscriptions over the REST API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.ports.mailbox_view import MOST_KEYWORDS
from tests.support.api import Api, problem
from tests.support.builders import make_message, make_segment
from tests.support.databases import pool
from tests.support.mailbox_checks import assert_mailboxes_are_sound
from tests.support.seed import DatabaseSeed

pytestmark = pytest.mark.usefixtures("alice")

ALICE = "/v1/accounts/alice@example.test"


@pytest.fixture
async def seed(database_url: str) -> AsyncIterator[DatabaseSeed]:
    async with pool(database_url, by_key=True) as database:
        yield DatabaseSeed(database)
        await assert_mailboxes_are_sound(database)


async def deliver(seed: DatabaseSeed, count: int) -> list[str]:
    account = await seed.value("SELECT id FROM accounts WHERE address = 'alice@example.test'")
    messages = [make_message([account], size=100, offset=100 * n) for n in range(count)]
    await PostgresMailboxes(seed.database).deliver([make_segment(messages)])
    return [str(each.envelope.id) for each in messages]


async def mailboxes(api: Api) -> dict[str, dict[str, Any]]:
    items = (await api.client.get(f"{ALICE}/mailboxes")).json()["items"]
    return {item["name"]: item for item in items}


async def test_flags_and_keywords_are_set_and_counted(api: Api, seed: DatabaseSeed) -> None:
    first, second = await deliver(seed, 2)
    path = f"{ALICE}/messages/{first}"
    shown = await api.client.patch(
        path, json={"flags": ["seen", "flagged", "deleted"], "keywords": ["$Forwarded", "work"]}
    )
    assert shown.status_code == 200, shown.text
    assert shown.json()["flags"] == ["seen", "flagged", "deleted"]
    assert shown.json()["keywords"] == ["$Forwarded", "work"]
    inbox = (await mailboxes(api))["INBOX"]
    assert (inbox["messages"], inbox["unseen"]) == (2, 1)
    # the mailbox keeps the spelling that it has, and what is not named stays
    shown = await api.client.patch(
        f"{ALICE}/messages/{second}", json={"keywords": ["WORK", "$forwarded"]}
    )
    assert (shown.json()["flags"], shown.json()["keywords"]) == ([], ["work", "$Forwarded"])
    before = await seed.rows("SELECT modseq FROM mailboxes WHERE name = 'INBOX'")
    again = await api.client.patch(
        path, json={"flags": ["deleted", "flagged", "seen"], "keywords": ["work", "$Forwarded"]}
    )
    assert again.status_code == 200
    assert await seed.rows("SELECT modseq FROM mailboxes WHERE name = 'INBOX'") == before
    cleared = await api.client.patch(path, json={"flags": [], "keywords": []})
    assert (cleared.json()["flags"], cleared.json()["keywords"]) == ([], [])
    assert (await mailboxes(api))["INBOX"]["unseen"] == 2
    log = await seed.rows("SELECT kind FROM mailbox_changes WHERE mailbox_id = 1 ORDER BY modseq")
    assert [kind for (kind,) in log] == [0, 1, 1, 1]
    lines = (await api.client.get("/v1/audit", params={"action": "message.change"})).json()["items"]
    assert {line["object"] for line in lines} == {"alice@example.test"}


async def test_flags_that_cannot_be_are_refused(api: Api, seed: DatabaseSeed) -> None:
    (message,) = await deliver(seed, 1)
    path = f"{ALICE}/messages/{message}"
    for body, field in (
        ({"flags": ["recent"]}, "flags[0]"),
        ({"flags": ["seen", "seen"]}, "flags"),
        ({"keywords": ["\\Seen"]}, "keywords[0]"),
        ({"keywords": ["two words"]}, "keywords[0]"),
        ({"keywords": ["a", "A"]}, "keywords"),
        ({"flags": None}, "flags"),
    ):
        problem(await api.client.patch(path, json=body), 422, "invalid", field)
    for part in range(MOST_KEYWORDS // 100):
        words = [f"k{part}-{n}" for n in range(100)]
        assert (await api.client.patch(path, json={"keywords": words})).status_code == 200
    answer = await api.client.patch(path, json={"keywords": ["one-more"]})
    problem(answer, 422, "invalid", "keywords")
    unknown = f"{ALICE}/messages/01a20715-6d61-7a3e-9f0b-2f3a5c7d9e11"
    problem(await api.client.patch(unknown, json={"flags": []}), 404, "not-found")


async def test_a_mailbox_is_renamed_with_those_below_it(api: Api, seed: DatabaseSeed) -> None:
    for name in ("Work", "Work/2026", "Other"):
        await api.client.post(f"{ALICE}/mailboxes", json={"name": name})
    before = await mailboxes(api)
    changed = await api.client.patch(f"{ALICE}/mailboxes/Work", json={"name": "Old/Work"})
    assert changed.status_code == 200, changed.text
    assert changed.json() == {**before["Work"], "name": "Old/Work"}
    after = await mailboxes(api)
    assert {"Old", "Old/Work", "Old/Work/2026"} <= after.keys()
    assert not {"Work", "Work/2026"} & after.keys()
    assert after["Old/Work/2026"]["uidvalidity"] == before["Work/2026"]["uidvalidity"]
    # a special use goes with its mailbox
    sent = await api.client.patch(f"{ALICE}/mailboxes/Sent", json={"name": "Gesendet"})
    assert (sent.json()["name"], sent.json()["role"]) == ("Gesendet", "sent")
    for name, to in (("INBOX", "x"), ("Other", "Old"), ("Old", "Old/Work/x")):
        answer = await api.client.patch(f"{ALICE}/mailboxes/{name}", json={"name": to})
        problem(answer, 409, "conflict")
    answer = await api.client.patch(f"{ALICE}/mailboxes/Other", json={"name": "a//b"})
    problem(answer, 422, "invalid", "name")
    answer = await api.client.patch(f"{ALICE}/mailboxes/None", json={"name": "x"})
    problem(answer, 404, "not-found")
    assert (await mailboxes(api)).keys() == (after.keys() - {"Sent"}) | {"Gesendet"}


async def test_a_name_from_before_names_had_a_normal_form_is_found(
    api: Api, seed: DatabaseSeed, blobs: FileBlobs
) -> None:
    message = await api.deliver(blobs, b"A: 1\r\n\r\n")
    await api.client.post(f"{ALICE}/mailboxes", json={"name": "Work"})
    await seed.rows("UPDATE mailboxes SET name = 'inbox/x' WHERE name = 'Work'")
    moved = await api.client.post(f"{ALICE}/messages/{message}/move", json={"mailbox": "inbox/x"})
    assert moved.json()["mailbox"] == "inbox/x", moved.text
    query = {"mailbox": "inbox/x"}
    shown = (await api.client.get(f"{ALICE}/messages", params=query)).json()["items"]
    assert [each["id"] for each in shown] == [str(message)]
    exported = await api.client.get(f"{ALICE}/export", params={"format": "mbox", **query})
    assert b"A: 1" in exported.content
    problem(await api.client.delete(f"{ALICE}/mailboxes/inbox/x"), 409, "conflict")
    changed = await api.client.patch(f"{ALICE}/mailboxes/inbox/x", json={"name": "inbox/X"})
    assert changed.json()["name"] == "INBOX/X", changed.text
    query = {"mailbox": "inbox/X"}
    shown = (await api.client.get(f"{ALICE}/messages", params=query)).json()["items"]
    assert [each["id"] for each in shown] == [str(message)], "and by its normal form"


async def test_subscriptions_are_shown_and_changed(api: Api, seed: DatabaseSeed) -> None:
    # an account of the release before: subscribed to everything until its first login by IMAP
    await seed.rows("UPDATE accounts SET imap_prepared = false")
    await seed.rows("DELETE FROM mailbox_subscriptions")
    assert all(each["subscribed"] for each in (await mailboxes(api)).values())
    await api.client.post(f"{ALICE}/mailboxes", json={"name": "Work"})
    changed = await api.client.patch(f"{ALICE}/mailboxes/Trash", json={"subscribed": False})
    assert changed.json()["subscribed"] is False
    shown = await mailboxes(api)
    assert {name for name, each in shown.items() if not each["subscribed"]} == {"Trash"}
    # a rename takes the subscription along
    await api.client.patch(f"{ALICE}/mailboxes/Trash", json={"name": "Bin"})
    await api.client.patch(f"{ALICE}/mailboxes/Work", json={"name": "Job"})
    shown = await mailboxes(api)
    assert {name for name, each in shown.items() if not each["subscribed"]} == {"Bin"}
    back = await api.client.patch(f"{ALICE}/mailboxes/Bin", json={"subscribed": True})
    assert back.json()["subscribed"] is True
    names = await seed.rows("SELECT name FROM mailbox_subscriptions ORDER BY name")
    assert {name for (name,) in names} == shown.keys()
