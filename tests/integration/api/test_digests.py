"""Digests: who gets one, what it lists, and what its links release."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from email.policy import default
from typing import Any
from uuid import UUID

import httpx
import pytest

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.mailboxes.digests import PostgresPop3Logins
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.envelope import Envelope
from posthorn.model.filter_decision import Decision
from posthorn.model.filter_policy import Action
from posthorn.ports.filing import Withheld
from posthorn.runtime.ids import new_id
from posthorn.wire.message.header import Summary
from posthorn_api.digests import service, tokens
from posthorn_api.digests.service import DigestOptions
from tests.support.api import Api, problem, running_api
from tests.support.builders import make_message, make_segment
from tests.support.databases import as_part, pool
from tests.support.events import CountedWakeUps, RecordedEvents
from tests.support.seed import DatabaseSeed

pytestmark = pytest.mark.usefixtures("accounts")

ALICE, BOB = "alice@example.test", "bob@example.test"
ANYBODY = {"Authorization": ""}
EVIL = "<script>alert(1)</script> & more"


@pytest.fixture
def api_options() -> dict[str, Any]:
    return {"digests": DigestOptions(base_url="https://mail.post.test/")}


@dataclass
class Kept:
    """Keeps what would go to INGEST."""

    messages: list[tuple[Envelope, bytes]] = field(default_factory=list)

    async def accept(self, envelope: Envelope, body: bytes | None) -> None:
        assert body is not None
        self.messages.append((envelope, body))

    async def probe(self) -> None:
        """Always well."""


@dataclass
class Filter:
    """Files messages as delivery does."""

    api: Api
    blobs: FileBlobs
    seed: DatabaseSeed
    kept: Kept
    events: RecordedEvents

    async def number(self, address: str) -> int:
        found: int = await self.seed.value("SELECT id FROM accounts WHERE address = $1", address)
        return found

    async def place(
        self, address: str, action: Action, reason: str = "score", subject: str = "Offer"
    ) -> tuple[UUID, UUID]:
        """Deliver a message to Junk or quarantine; return its id, and that of the copy."""
        account, copy = await self.number(address), new_id()
        decision = Decision(action, reason, 8.5, "Eicar" if reason == "virus" else "8.5 points")
        made = make_message((), size=10)
        summary = Summary(subject, f'"{EVIL}" <eve@bulk.test>', "today", "<1@bulk.test>")
        made = replace(made, envelope=replace(made.envelope, summary=summary))
        if action is Action.JUNK:
            made = replace(made, accounts=(account,), filed={account: decision})
        else:
            withheld = Withheld(copy, address, account, DEFAULT_TENANT, decision)
            made = replace(made, withheld=(withheld,))
        packed = make_segment([made])
        await self.blobs.put(packed.key, [b"x" * 10])
        await PostgresMailboxes(self.seed.database).deliver([packed])
        await self.seed.rows("UPDATE quarantine SET created_at = now() - interval '1 minute'")
        return made.envelope.id, copy

    async def reads_by_pop3(self, address: str, days_ago: int = 0) -> None:
        async with pool(as_part(self.api.database_url, "pop3")) as pop3s:
            await PostgresPop3Logins(pop3s).seen([await self.number(address)])
        await self.seed.rows("UPDATE pop3_logins SET seen_on = seen_on - $1::integer", days_ago)

    async def boxes(self, message: UUID) -> list[int]:
        query = "SELECT mailbox_id FROM mailbox_entries WHERE message_id = $1"
        return [row[0] for row in await self.seed.rows(query, message)]

    async def classified(self) -> set[tuple[UUID, str]]:
        return set(await self.seed.rows("SELECT message_id, wanted FROM classifications"))


@pytest.fixture
async def sorting(api: Api, blobs: FileBlobs) -> AsyncIterator[Filter]:
    kept, events = Kept(), RecordedEvents()
    api.ingest.set(kept)
    api.hints.set(CountedWakeUps(), events)
    async with pool(api.database_url) as database:
        yield Filter(api, blobs, DatabaseSeed(database), kept, events)


def parts_of(body: bytes) -> tuple[str, str]:
    """Return the texts of a digest, plain and HTML."""
    found = message_from_bytes(body, policy=default)
    plain, html = found.iter_parts()
    return plain.get_content(), html.get_content()


async def test_trap_24_a_pop3_user_is_told_and_releases_by_a_button(sorting: Filter) -> None:
    api = sorting.api
    await sorting.reads_by_pop3(ALICE)
    junk, _ = await sorting.place(ALICE, Action.JUNK, subject=EVIL)
    held, copy = await sorting.place(ALICE, Action.QUARANTINE)
    _, virus = await sorting.place(ALICE, Action.REFUSE, "virus")
    await sorting.place(BOB, Action.JUNK)
    assert await api.digests.send_due() == 1
    ((envelope, body),) = sorting.kept.messages
    assert (envelope.recipients, envelope.reverse_path, envelope.role) == ((ALICE,), "", "send")
    assert envelope.signer == "example.test"
    assert b"Subject: 3 messages kept from your inbox\r\n" in body
    assert max(map(len, body.split(b"\r\n"))) <= 78
    plain, html = parts_of(body)
    assert plain.count(EVIL) == 4 and "contains a virus: Eicar" in plain
    assert "<script" not in html and html.count("&lt;script&gt;") == 4
    links = re.findall(r"https://mail\.post\.test(/release/\S+)", plain)
    assert [f'href="https://mail.post.test{link}"' in html for link in links] == [True, True]
    assert str(virus) in plain

    for link in links:  # as programs do that follow links
        shown = await api.client.get(link, headers=ANYBODY)
        assert shown.status_code == 200 and '<form method="post">' in shown.text
        assert "<script" not in shown.text
    assert (await sorting.boxes(junk), await sorting.boxes(held)) == ([2], [])
    for link in links:
        assert (await api.client.post(link, headers=ANYBODY)).status_code == 200
    assert (await sorting.boxes(junk), await sorting.boxes(held)) == ([1], [1])
    assert await sorting.classified() == {(junk, "ham"), (held, "ham")}
    assert sorting.events.kinds(junk) == ["classified"]
    assert sorting.events.kinds(held) == ["restored", "delivered"]
    audited = await api.sql("SELECT actor_name, object FROM audit WHERE action = 'message.release'")
    assert [tuple(line) for line in audited] == [(ALICE, ALICE)] * 2

    again = [(await api.client.post(link, headers=ANYBODY)).status_code for link in links]
    assert sorted(again) == [200, 404], "what is in INBOX stays there"
    await sorting.seed.sums_hold()
    assert await sorting.seed.rows("SELECT id FROM quarantine") == [(virus,)]
    assert copy != virus


async def test_a_digest_comes_once_an_interval_with_what_is_new(sorting: Filter) -> None:
    api = sorting.api
    await sorting.reads_by_pop3(ALICE)
    await sorting.place(ALICE, Action.JUNK)
    assert await api.digests.send_due() == 1
    await sorting.place(ALICE, Action.JUNK, subject="Second")
    await sorting.place(ALICE, Action.QUARANTINE, subject="Third")
    assert await api.digests.send_due() == 0
    await sorting.seed.rows("UPDATE digests SET sent_at = now() - interval '25 hours'")
    assert await api.digests.send_due() == 1
    first, second = (parts_of(body)[0] for _, body in sorting.kept.messages)
    assert "Offer" in first and "Offer" not in second and "Second" in second and "Third" in second
    await sorting.seed.rows("UPDATE digests SET sent_at = now() - interval '25 hours'")
    assert await api.digests.send_due() == 0, "nothing is new"
    # made twice, as after a crash, it is the same message
    await sorting.seed.rows("UPDATE digests SET junk_uid = 1, quarantine_id = NULL")
    assert await api.digests.send_due() == 1
    assert sorting.kept.messages[1][0].id == sorting.kept.messages[2][0].id


async def test_policies_decide_who_gets_digests(sorting: Filter) -> None:
    api, seed = sorting.api, sorting.seed
    a, b = await sorting.number(ALICE), await sorting.number(BOB)
    digests = api.digests._digests

    async def due() -> list[int]:
        return list(await digests.due(0, 86_400, 10))

    for address in (ALICE, BOB):
        await sorting.place(address, Action.JUNK)
    assert await due() == []
    await sorting.reads_by_pop3(ALICE, days_ago=29)
    assert await due() == [a]
    await sorting.reads_by_pop3(ALICE)
    await seed.rows("UPDATE pop3_logins SET seen_on = current_date - 30")
    assert await due() == []
    await seed.policy(digest=True)
    assert await due() == [a, b]
    await seed.policy(domain="example.test", digest=False)
    assert await due() == []
    await seed.policy(account=b, digest=True, junk_score=5)
    assert await due() == [b]
    assert list(await digests.due(b, 86_400, 10)) == []
    await seed.rows("UPDATE accounts SET state = 'suspended' WHERE id = $1", b)
    assert await due() == []


async def test_what_the_owner_moved_to_junk_is_not_listed(sorting: Filter) -> None:
    await sorting.reads_by_pop3(ALICE)
    message = await sorting.api.deliver(sorting.blobs, b"Subject: x\r\n\r\n", ALICE)
    path = f"/v1/accounts/{ALICE}/messages/{message}/classification"
    answer = await sorting.api.client.put(path, json={"classification": "spam"})
    assert answer.status_code == 200, answer.text
    assert await sorting.api.digests.send_due() == 0
    assert sorting.kept.messages == []
    await sorting.place(ALICE, Action.JUNK)
    assert await sorting.api.digests.send_due() == 1, "it did not use up the day"


async def test_links_are_for_one_account_limited_and_expire(
    sorting: Filter, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = sorting.api.client
    junk, _ = await sorting.place(ALICE, Action.JUNK)
    held, copy = await sorting.place(ALICE, Action.QUARANTINE)
    _, virus = await sorting.place(ALICE, Action.QUARANTINE, "virus")
    a, b = await sorting.number(ALICE), await sorting.number(BOB)
    key = sorting.api.digests._keys[0]
    far = 4_000_000_000
    wrong = [
        tokens.Grant(tokens.Action.FROM_JUNK, b, junk, far),
        tokens.Grant(tokens.Action.FROM_QUARANTINE, b, copy, far),
        tokens.Grant(tokens.Action.FROM_QUARANTINE, a, virus, far),
        tokens.Grant(tokens.Action.FROM_JUNK, a, held, far),
        tokens.Grant(tokens.Action.FROM_JUNK, 999_999, junk, far),
        tokens.Grant(tokens.Action.FROM_JUNK, a, junk, 1_000_000_000),
    ]
    for link in ("x", *(tokens.make_token(key, grant) for grant in wrong)):
        for method in ("GET", "POST"):
            answer = await client.request(method, f"/release/{link}", headers=ANYBODY)
            assert answer.status_code == 404, link
    assert (await sorting.boxes(junk), await sorting.boxes(held)) == ([2], [])
    assert await sorting.seed.value("SELECT count(*) FROM quarantine") == 2
    assert await sorting.classified() == set()

    monkeypatch.setattr(service, "_RELEASES_PER_HOUR", 1)
    right = tokens.make_token(key, tokens.Grant(tokens.Action.FROM_JUNK, a, junk, far))
    await sorting.seed.rows("DELETE FROM throttles")
    results = [(await client.post(f"/release/{right}", headers=ANYBODY)).status_code for _ in "12"]
    assert results == [200, 429]
    await sorting.seed.rows("DELETE FROM throttles")
    await sorting.seed.rows("UPDATE accounts SET quota_bytes = used_bytes WHERE id = $1", a)
    full = tokens.make_token(key, tokens.Grant(tokens.Action.FROM_QUARANTINE, a, copy, far))
    assert (await client.post(f"/release/{full}", headers=ANYBODY)).status_code == 409


async def test_without_a_public_url_the_digest_names_the_other_ways(
    sorting: Filter, blobs: FileBlobs
) -> None:
    await sorting.reads_by_pop3(ALICE)
    junk, _ = await sorting.place(ALICE, Action.JUNK)
    async with running_api(sorting.api.database_url, blobs) as other:
        other.ingest.set(sorting.kept)
        assert await other.digests.send_due() == 1
    ((_, body),) = sorting.kept.messages
    plain, html = parts_of(body)
    assert "/release/" not in plain + html
    assert f"posthorn message classify {ALICE} ID ham" in plain and str(junk) in plain


async def test_owners_classify_their_messages(sorting: Filter) -> None:
    client = sorting.api.client
    message = await sorting.api.deliver(sorting.blobs, b"Subject: x\r\n\r\n", ALICE)
    path = f"/v1/accounts/{ALICE}/messages/{message}/classification"
    steps = (
        ("spam", "", "Junk", [2]),
        ("ham", "?move=false", "Junk", [2]),
        ("ham", "", "INBOX", [1]),
        ("none", "", "INBOX", [1]),
    )
    for said, query, mailbox, boxes in steps:
        answer = await client.put(path + query, json={"classification": said})
        assert answer.json() == {
            "message": str(message),
            "classification": said,
            "taught": "none",
            "mailbox": mailbox,
        }
        assert await sorting.boxes(message) == boxes
        kind, detail = sorting.events.details_of(message)[-1]
        assert (kind, detail["classification"], detail["account"]) == ("classified", said, ALICE)
    assert (await client.put(path, json={"classification": "eggs"})).status_code == 422
    own = httpx.BasicAuth(ALICE, "correct horse")
    answer = await client.put(path, json={"classification": "spam"}, auth=own)
    assert (answer.status_code, answer.json()["mailbox"]) == (200, "Junk")
    others = path.replace(ALICE, BOB)
    answer = await client.put(others, json={"classification": "spam"}, auth=own)
    problem(answer, 403, "forbidden")
    missing = path.replace(str(message), str(new_id()))
    assert (await client.put(missing, json={"classification": "ham"})).status_code == 404
