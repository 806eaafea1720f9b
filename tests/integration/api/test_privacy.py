"""Content of mailboxes over the REST API: a right of its own, every use of it audited, and shown
to the account."""

from __future__ import annotations

import base64
from uuid import UUID

import asyncpg
import pytest

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.ports.api_keys import Role
from posthorn_api.app import operations
from posthorn_api.http.permissions import RULES
from tests.support.api import Api, problem

pytestmark = pytest.mark.usefixtures("accounts")

ALICE = "/v1/accounts/alice@example.test"
ACCESS = f"{ALICE}/content-access"
BODY = b"Subject: private\r\n\r\nfor my eyes only\r\n"


@pytest.fixture
async def message(api: Api, blobs: FileBlobs) -> UUID:
    return await api.deliver(blobs, BODY)


def content_paths(message: UUID) -> dict[str, str]:
    return {
        "listMessages": f"{ALICE}/messages?subject=private&text=EYES",
        "getMessage": f"{ALICE}/messages/{message}",
        "getRawMessage": f"{ALICE}/messages/{message}/raw",
        "getMessageStructure": f"{ALICE}/messages/{message}/structure",
        "getMessagePart": f"{ALICE}/messages/{message}/parts/1?raw=true",
        "listDeletedMessages": f"{ALICE}/deleted",
        "exportMail": f"{ALICE}/export?format=mbox",
    }


def basic(address: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{address}:{password}".encode()).decode()}


async def default_tenant(api: Api) -> UUID:
    (row,) = await api.sql("SELECT id FROM tenants WHERE name = 'default'")
    found: UUID = row["id"]
    return found


def test_every_operation_that_shows_content_is_marked_as_such() -> None:
    marked = {name for name, rule in RULES.items() if rule.content}
    # of a quarantined message, and of the account itself: see test_quarantine.py and test_me.py
    elsewhere = {"getRawQuarantined", "exportMyMail"}
    assert marked - elsewhere == set(content_paths(UUID(int=0)))
    assert elsewhere < marked
    reading = {
        route.operation_id
        for route in operations()
        if route.methods == {"GET"} and route.path.startswith("/v1/accounts/{address:address}/")
    }
    assert reading - marked == {
        "listContentAccess",
        "listSignIns",
        "listMailboxes",
        "listAppPasswords",
        "getAccountFilterPolicy",
        "getEffectiveAccountFilterPolicy",
    }


async def test_a_read_only_key_reads_no_mail(api: Api, message: UUID) -> None:
    tenant = await default_tenant(api)
    for key in (
        await api.key(Role.READ_ONLY),
        await api.key(Role.READ_ONLY, tenant),
        await api.key(Role.SEND_ONLY, tenant),
    ):
        for path in content_paths(message).values():
            problem(await api.client.get(path, headers=key), 403, "forbidden")
    assert await api.sql("SELECT FROM audit WHERE action LIKE 'content.%'") == []


async def test_an_admin_key_without_the_right_reads_no_mail_and_cannot_give_it(
    api: Api, message: UUID
) -> None:
    key = await api.key(Role.TENANT_ADMIN, await default_tenant(api), message_content=False)
    for path in content_paths(message).values():
        problem(await api.client.get(path, headers=key), 403, "forbidden")
    fields = {"name": "another", "role": "tenant-admin"}
    answer = await api.client.post(
        "/v1/api-keys", json={**fields, "message_content": True}, headers=key
    )
    problem(answer, 422, "invalid", "message_content")
    made = await api.client.post("/v1/api-keys", json=fields, headers=key)
    assert (made.status_code, made.json()["message_content"]) == (201, False)


async def test_a_change_shows_no_header_to_who_may_not_read(api: Api, message: UUID) -> None:
    tenant = await default_tenant(api)
    blind = await api.key(Role.TENANT_ADMIN, tenant, message_content=False)
    reader = await api.key(Role.TENANT_ADMIN, tenant)
    place = f"{ALICE}/messages/{message}"
    for headers, is_shown in ((blind, False), (reader, True)):
        answers = [
            await api.client.patch(place, json={"flags": ["seen"]}, headers=headers),
            await api.client.post(f"{place}/move", json={"mailbox": "Archive"}, headers=headers),
        ]
        for answer in answers:
            assert answer.status_code == 200, answer.text
            shown = answer.json()
            assert shown["id"] == str(message)
            written = [shown[name] for name in ("from", "subject", "date", "message_id")]
            assert any(written) is is_shown, shown
            assert bool(shown["reverse_path"]) is is_shown


async def test_the_right_is_given_to_a_key_that_only_reads(api: Api, message: UUID) -> None:
    fields = {"name": "archive", "role": "read-only", "tenant": "default"}
    without = await api.client.post("/v1/api-keys", json=fields)
    having = await api.client.post("/v1/api-keys", json={**fields, "message_content": True})
    assert (without.json()["message_content"], having.json()["message_content"]) == (False, True)
    for made, status in ((without, 403), (having, 200)):
        headers = {"Authorization": f"Bearer {made.json()['key']}"}
        assert (
            await api.client.get(f"{ALICE}/messages/{message}/raw", headers=headers)
        ).status_code == status
    sending = await api.client.post(
        "/v1/api-keys", json={**fields, "role": "send-only", "message_content": True}
    )
    problem(sending, 422, "invalid", "message_content")


async def test_every_use_is_audited_for_the_tenant_and_shown_to_the_account(
    api: Api, message: UUID
) -> None:
    for path in content_paths(message).values():
        answer = await api.client.get(path)
        assert answer.status_code == 200, answer.text
    problem(await api.client.get(f"{ALICE}/messages/{UUID(int=1)}/raw"), 404, "not-found")
    tenant = await api.key(Role.TENANT_ADMIN, await default_tenant(api))
    lines = (await api.client.get("/v1/audit?action=content", headers=tenant)).json()["items"]
    seen = [(line["action"], line["object"], line["actor_name"], line["details"]) for line in lines]
    about = {"message": str(message)}
    assert seen == [
        ("content.export", "alice@example.test", "bootstrap", {"format": "mbox"}),
        ("content.list-deleted", "alice@example.test", "bootstrap", {}),
        ("content.read", "alice@example.test", "bootstrap", {**about, "part": "1", "raw": "true"}),
        ("content.show", "alice@example.test", "bootstrap", about),
        ("content.read", "alice@example.test", "bootstrap", about),
        ("content.show", "alice@example.test", "bootstrap", about),
        ("content.list", "alice@example.test", "bootstrap", {"subject": "private", "text": "EYES"}),
    ]
    for headers in (tenant, basic("Alice@Example.TEST", "correct horse")):
        answer = await api.client.get(ACCESS, headers=headers)
        assert [line["action"] for line in answer.json()["items"]] == [
            action for action, *_ in seen
        ]
    other = await api.key(Role.TENANT_ADMIN, await api.tenant("other"))
    problem(await api.client.get(ACCESS, headers=other), 404, "not-found")


async def test_nothing_is_shown_that_cannot_be_audited(api: Api, message: UUID) -> None:
    await api.sql("ALTER TABLE audit RENAME TO audit_away")
    try:
        for path in content_paths(message).values():
            answer = await api.client.get(path)
            problem(answer, 503, "unavailable")
            assert b"private" not in answer.content
    finally:
        await api.sql("ALTER TABLE audit_away RENAME TO audit")


async def test_an_account_sees_its_own_alone_and_nothing_else(api: Api, message: UUID) -> None:
    bob = basic("bob@example.test", "correct horse")
    problem(await api.client.get(ACCESS, headers=bob), 403, "forbidden")
    for path in (ALICE, "/v1/accounts", *content_paths(message).values()):
        problem(
            await api.client.get(path, headers=basic("alice@example.test", "correct horse")),
            401,
            "unauthorized",
        )
    for wrong in (
        basic("alice@example.test", "wrong"),
        basic("nobody@example.test", "x"),
        {"Authorization": "Basic !"},
    ):
        answer = await api.client.get(ACCESS, headers=wrong)
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Basic ")


async def test_guesses_at_the_password_are_counted_with_those_of_mail(api: Api) -> None:
    statuses = [
        (await api.client.get(ACCESS, headers=basic("alice@example.test", f"no {n}"))).status_code
        for n in range(12)
    ]
    assert statuses[:9] == [401] * 9
    assert statuses[-1] == 429


async def test_a_key_of_the_release_before_keeps_what_its_role_has(api: Api, message: UUID) -> None:
    connection = await asyncpg.connect(api.database_url)
    try:
        assert (
            await connection.fetchval("SELECT count(*) FROM api_keys WHERE message_content IS NULL")
            == 1
        )
    finally:
        await connection.close()
    assert (await api.client.get(f"{ALICE}/messages/{message}/raw")).content == BODY
