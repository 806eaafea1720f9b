"""What holders of accounts do for themselves, by a session and by HTTP Basic."""

from __future__ import annotations

import asyncio
import base64
import json
import plistlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.model.withheld import encode_withheld
from posthorn.runtime.ids import new_id
from posthorn_api.http.permissions import RULES
from tests.integration.api.test_login import Browser
from tests.support.api import Api, problem
from tests.support.builders import make_message
from tests.support.polling import until

pytestmark = pytest.mark.usefixtures("accounts")

BODY = b"Subject: private\r\n\r\nfor my eyes only\r\n"


@pytest.fixture
async def alice(api: Api) -> AsyncIterator[Browser]:
    browser = Browser(api)
    async with browser.client:
        await browser.sign_in(account="alice@example.test", password="correct horse")
        yield browser


def basic(address: str, password: str) -> dict[str, str]:
    pair = base64.b64encode(f"{address}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


async def items(browser: Browser, path: str) -> list[Any]:
    answer = await browser.ask("GET", path)
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["items"]
    return found


async def test_basic_opens_the_same_and_no_key_does(api: Api, alice: Browser) -> None:
    for path in ("/v1/me", "/v1/me/mailboxes", "/v1/me/vacation", "/v1/me/client-settings"):
        by_session = await alice.ask("GET", path)
        right = basic("alice@example.test", "correct horse")
        by_password = await api.client.get(path, headers=right)
        assert (by_session.status_code, by_password.status_code) == (200, 200), path
        wrong = await api.client.get(path, headers=basic("alice@example.test", "wrong"))
        problem(wrong, 401, "unauthorized")
    problem(await api.client.get("/v1/me/mailboxes"), 403, "forbidden")  # an admin's key


@pytest.mark.parametrize(
    ("site", "status"),
    [("cross-site", 403), ("same-site", 403), ("none", 403), ("same-origin", 404), (None, 404)],
)
async def test_a_browser_that_remembers_a_password_changes_nothing_for_another_site(
    api: Api, alice: Browser, site: str | None, status: int
) -> None:
    headers = basic("alice@example.test", "correct horse")
    if site is not None:
        headers["Sec-Fetch-Site"] = site
    path = f"/v1/me/deleted/{new_id()}/undelete"
    assert (await api.client.post(path, headers=headers)).status_code == status
    assert (await api.client.get("/v1/me", headers=headers)).status_code == 200


async def test_a_new_password_ends_all_sessions_but_the_own(api: Api, alice: Browser) -> None:
    other = Browser(api)
    async with other.client:
        await other.sign_in(account="alice@example.test", password="correct horse")

        async def change(current: str, new: str) -> httpx.Response:
            body = {"current_password": current, "password": new}
            return await alice.ask("PUT", "/v1/me/password", json=body)

        problem(await change("wrong", "another good one"), 422, "invalid", "current_password")
        problem(await change("correct horse", "short"), 422, "invalid", "password")
        done = await change("correct horse", "another good one")
        assert done.status_code == 204, done.text
        alice.cookies["__Host-posthorn"] = done.headers["set-cookie"].partition(";")[0][16:]
        assert (await alice.ask("GET", "/v1/me")).status_code == 200

        async def has_ended() -> bool:
            return (await other.ask("GET", "/v1/me")).status_code == 401

        await until(has_ended)
    (line,) = (await api.client.get("/v1/audit?action=account.change-password")).json()["items"]
    assert (line["actor_name"], line["actor_role"]) == ("alice@example.test", "account")
    assert "another" not in json.dumps(line)


async def test_app_passwords_are_made_listed_and_deleted(api: Api, alice: Browser) -> None:
    body = {
        "name": "phone",
        "scopes": ["imap"],
        "expires_at": "2126-01-01T00:00:00Z",
        "networks": ["192.0.2.0/24", "192.0.2.0/24"],
    }
    made = await alice.ask("POST", "/v1/me/app-passwords", json=body)
    assert made.status_code == 201, made.text
    assert made.json()["password"].startswith("phap_")
    for change, field in (
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"networks": ["192.0.2.1/24"]}, "networks[0]"),
    ):
        answer = await alice.ask("POST", "/v1/me/app-passwords", json={**body, **change})
        problem(answer, 422, "invalid", field)
    bobs = await api.client.post(
        "/v1/accounts/bob@example.test/app-passwords", json={"name": "b", "scopes": ["imap"]}
    )
    (one,) = await items(alice, "/v1/me/app-passwords")
    assert one == {
        **{name: it for name, it in made.json().items() if name != "password"},
        "expires_at": "2126-01-01T00:00:00Z",
        "networks": ["192.0.2.0/24"],
    }
    problem(
        await alice.ask("DELETE", f"/v1/me/app-passwords/{bobs.json()['id']}"), 404, "not-found"
    )
    assert (await alice.ask("DELETE", f"/v1/me/app-passwords/{one['id']}")).status_code == 204
    assert await items(alice, "/v1/me/app-passwords") == []


async def test_an_api_key_may_hold_for_networks(api: Api) -> None:
    fields = {"name": "n", "role": "read-only"}
    made = await api.client.post("/v1/api-keys", json={**fields, "networks": ["192.0.2.0/24"]})
    assert made.json()["networks"] == ["192.0.2.0/24"]
    headers = {"Authorization": f"Bearer {made.json()['key']}"}
    problem(await api.client.get("/v1/domains", headers=headers), 403, "forbidden")
    answer = await api.client.post("/v1/login", json={"key": made.json()["key"]})
    problem(answer, 403, "forbidden")
    made = await api.client.post("/v1/api-keys", json={**fields, "networks": ["127.0.0.0/8"]})
    headers = {"Authorization": f"Bearer {made.json()['key']}"}
    assert (await api.client.get("/v1/domains", headers=headers)).status_code == 200
    shown = (await api.client.get(f"/v1/api-keys/{made.json()['id']}")).json()
    assert shown["last_used_address"] == "127.0.0.1"
    bad = await api.client.post("/v1/api-keys", json={**fields, "networks": ["x"]})
    problem(bad, 422, "invalid", "networks[0]")


async def test_sign_ins_are_shown_to_the_account_and_its_admins(api: Api, alice: Browser) -> None:
    wrong = await alice.ask("GET", "/v1/me", headers=basic("alice@example.test", "wrong"))
    assert wrong.status_code == 401
    await api.sign_ins.write()
    by_holder = await items(alice, "/v1/me/sign-ins")
    assert [(each["protocol"], each["address"], each["result"]) for each in by_holder] == [
        ("api", "127.0.0.1", "wrong"),
        ("api", "127.0.0.1", "accepted"),
    ]
    path = "/v1/accounts/alice@example.test/sign-ins"
    first = (await api.client.get(path, params={"limit": 1})).json()
    second = (
        await api.client.get(path, params={"limit": 1, "cursor": first["next_cursor"]})
    ).json()
    assert first["items"] + second["items"] == by_holder
    assert second["next_cursor"] is None
    problem(await alice.ask("GET", path.replace("alice", "bob")), 403, "forbidden")


async def test_who_read_the_mail_is_shown(api: Api, blobs: FileBlobs, alice: Browser) -> None:
    message = await api.deliver(blobs, BODY)
    await api.client.get(f"/v1/accounts/alice@example.test/messages/{message}/raw")
    await api.client.get("/v1/accounts/bob@example.test/messages")
    (line,) = await items(alice, "/v1/me/reads")
    assert (line["action"], line["actor_name"]) == ("content.read", "bootstrap")
    assert line["details"] == {"message": str(message)}


async def test_own_mail_is_exported_which_the_list_of_reads_shows(
    api: Api, blobs: FileBlobs, alice: Browser
) -> None:
    await api.deliver(blobs, BODY)
    whole = await alice.ask("GET", "/v1/me/export?format=mbox")
    assert whole.status_code == 200, whole.text
    assert BODY.replace(b"\r\n", b"\n") in whole.content
    assert whole.headers["content-disposition"] == 'attachment; filename="mail.mbox"'
    assert whole.headers["posthorn-messages"] == "1"
    none = await alice.ask("GET", "/v1/me/export?format=eml&mailbox=Sent")
    assert none.headers["posthorn-messages"] == "0"
    problem(await alice.ask("GET", "/v1/me/export?format=mbox&mailbox=None"), 404, "not-found")
    bob = await api.client.get(
        "/v1/me/export?format=mbox", headers=basic("bob@example.test", "correct horse")
    )
    assert bob.content == b""
    assert [
        (line["action"], line["actor_role"], line["details"])
        for line in await items(alice, "/v1/me/reads")
    ] == [
        ("content.export", "account", {"format": "eml", "mailbox": "Sent"}),
        ("content.export", "account", {"format": "mbox"}),
    ]


async def test_a_holder_makes_one_export_at_a_time(
    api: Api, blobs: FileBlobs, alice: Browser
) -> None:
    await api.deliver(blobs, BODY)
    path, tenant = "/v1/me/export?format=mbox", (await api.sql("SELECT id FROM tenants"))[0]["id"]
    for _ in range(2):  # the first waits for a place
        await api.transfer.exporting.take(tenant)
    first = asyncio.create_task(alice.ask("GET", path))
    await until(lambda: bool(api.transfer._exporting_accounts))
    problem(await alice.ask("GET", path), 429, "too-many-requests")
    api.transfer.exporting.give(tenant)
    assert (await first).status_code == 200
    assert (await alice.ask("GET", path)).status_code == 200
    api.transfer.exporting.give(tenant)


async def test_clients_are_set_up(api: Api, alice: Browser) -> None:
    shown = (await alice.ask("GET", "/v1/me/client-settings")).json()
    assert shown["username"] == "alice@example.test"
    assert shown["servers"][0] == {
        "protocol": "imap",
        "host": "imap.post.test",
        "port": 993,
        "security": "tls",
    }
    profile = await alice.ask("GET", "/v1/me/client-settings?format=apple")
    assert profile.headers["content-type"] == "application/x-apple-aspen-config"
    (mail,) = plistlib.loads(profile.content)["PayloadContent"]
    assert mail["EmailAddress"] == "alice@example.test"
    answer = await alice.ask(
        "POST",
        "/v1/me/client-settings?format=thunderbird-qr",
        json={
            "name": "phone",
            "display_name": "Alice Müller",
            "expires_at": "2126-01-01T00:00:00Z",
        },
        headers={"Idempotency-Key": "one"},
    )
    assert answer.status_code == 201, answer.text
    payload = answer.json()["payload"]
    version, part, incoming, [[outgoing, identity]] = json.loads(payload)
    assert (version, part, identity) == (1, [1, 1], ["alice@example.test", "Alice Müller"])
    password = incoming[-1]
    login = ["alice@example.test"]
    assert incoming == [0, "imap.post.test", 993, 3, 1, *login, *login, password]
    assert outgoing == [0, "smtp.post.test", 465, 3, 1, *login, password]
    assert len(payload) <= 800
    (made,) = await items(alice, "/v1/me/app-passwords")
    assert (made["id"], made["scopes"]) == (
        answer.json()["app_password"],
        ["imap", "pop3", "smtp"],
    )
    again = await alice.ask(
        "POST",
        "/v1/me/client-settings?format=thunderbird-qr",
        json={
            "name": "phone",
            "display_name": "Alice Müller",
            "expires_at": "2126-01-01T00:00:00Z",
        },
        headers={"Idempotency-Key": "one"},
    )
    assert again.json() == {"payload": None, "app_password": made["id"]}
    for row in await api.sql("SELECT k::text AS whole FROM idempotency_keys k"):
        assert password not in row["whole"] and password.encode().hex() not in row["whole"]


async def test_deleted_and_withheld_messages_come_back(
    api: Api, blobs: FileBlobs, alice: Browser
) -> None:
    await api.client.patch("/v1/domains/example.test", json={"undelete_days": 7})
    message = await api.deliver(blobs, BODY)
    place = f"/v1/accounts/alice@example.test/messages/{message}"
    assert (await api.client.delete(place)).status_code == 204
    (deleted,) = await items(alice, "/v1/me/deleted")
    assert deleted["message"]["id"] == str(message)
    back = await alice.ask("POST", f"/v1/me/deleted/{message}/undelete")
    assert back.status_code == 200, back.text
    problem(await alice.ask("POST", f"/v1/me/deleted/{message}/undelete"), 404, "not-found")
    mailboxes = {each["name"]: each["messages"] for each in await items(alice, "/v1/me/mailboxes")}
    assert mailboxes["INBOX"] == 1

    mine, bobs = [await withheld(api, message, f"{name}@example.test") for name in ("alice", "bob")]
    (copy,) = await items(alice, "/v1/me/quarantine")
    assert copy["id"] == str(mine)
    problem(await alice.ask("POST", f"/v1/me/quarantine/{bobs}/release"), 404, "not-found")
    released = await alice.ask("POST", f"/v1/me/quarantine/{mine}/release")
    assert released.status_code == 200, released.text
    assert await items(alice, "/v1/me/quarantine") == []
    virus = await withheld(api, message, "alice@example.test", reason="virus")
    refused = await alice.ask("POST", f"/v1/me/quarantine/{virus}/release")
    problem(refused, 409, "conflict")
    assert [each["id"] for each in await items(alice, "/v1/me/quarantine")] == [str(virus)]
    assert (await api.client.post(f"/v1/quarantine/{virus}/release", json={})).status_code == 200
    assert len(await api.sql("SELECT FROM quarantine")) == 1


async def test_holders_classify_their_own_messages(api: Api, alice: Browser) -> None:
    numbers = {}
    for name in ("alice", "bob"):
        numbers[name] = await _imported(api, f"{name}@example.test", name.encode())

    def path(name: str, of: str) -> str:
        return f"/v1/accounts/{name}@example.test/messages/{numbers[of]}/classification"

    said = await alice.ask("PUT", path("alice", "alice"), json={"classification": "spam"})
    assert said.status_code == 200, said.text
    assert (said.json()["classification"], said.json()["mailbox"]) == ("spam", "Junk")
    for wrong, status in ((path("bob", "bob"), 403), (path("alice", "bob"), 404)):
        answer = await alice.ask("PUT", wrong, json={"classification": "spam"})
        assert answer.status_code == status, answer.text
    right = basic("alice@example.test", "correct horse")
    said = await api.client.put(
        path("alice", "alice"), json={"classification": "ham"}, headers=right
    )
    assert (said.status_code, said.json()["mailbox"]) == (200, "INBOX")
    assert [row[0] for row in await api.sql("SELECT wanted FROM classifications")] == ["ham"]


async def _imported(api: Api, address: str, text: bytes) -> UUID:
    mbox = b"From a@b.test Mon Jan  1 00:00:00 2024\nSubject: %b\n\n%b\n" % (text, text)
    answer = await api.client.post(
        f"/v1/accounts/{address}/import?format=mbox",
        content=mbox,
        headers={"Content-Type": "application/mbox"},
    )
    assert answer.json()["imported"] == 1, answer.text
    (row,) = await api.sql(
        "SELECT e.message_id FROM mailbox_entries e JOIN accounts a ON a.id = e.account_id"
        " WHERE a.address = $1",
        address,
    )
    number: UUID = row[0]
    return number


async def withheld(api: Api, message: UUID, recipient: str, reason: str = "score") -> UUID:
    number = new_id()
    await api.sql(
        "INSERT INTO quarantine (id, message_id, tenant_id, account_id, recipient, reason, detail, score, envelope,"
        " size_crlf, expires_at) SELECT $1, $2, d.tenant_id, a.id, $3, $5, '', 9, $4, 1000, now() + interval '1 day'"
        " FROM accounts a JOIN domains d ON d.id = a.domain_id WHERE a.address = $3",
        *(number, message, recipient),
        encode_withheld(make_message(()).envelope, recipient, ()),
        reason,
    )
    await api.sql("UPDATE messages SET refs = refs + 1 WHERE id = $1", message)
    return number


async def test_the_automatic_reply_is_set(api: Api, alice: Browser) -> None:
    nothing = {"enabled": False, "subject": "", "text": "", "starts_at": None, "ends_at": None}
    assert (await alice.ask("GET", "/v1/me/vacation")).json() == nothing
    body = {
        "enabled": True,
        "subject": "Away",
        "text": "Back on Monday.\nAlice",
        "starts_at": "2026-12-01T00:00:00Z",
        "ends_at": "2026-12-24T00:00:00Z",
    }
    done = await alice.ask("PUT", "/v1/me/vacation", json=body)
    assert done.json() == body
    assert (await alice.ask("GET", "/v1/me/vacation")).json() == body
    for change, field in (
        ({"ends_at": "2026-12-01T00:00:00Z"}, "ends_at"),
        ({"subject": "a\nBcc: all@example.test"}, "subject"),
        ({"text": ""}, "text"),
        ({"text": "x" * 10_001}, "text"),
        ({"text": "a\0b"}, "text"),
    ):
        answer = await alice.ask("PUT", "/v1/me/vacation", json={**body, **change})
        problem(answer, 422, "invalid", field)
    (line,) = (await api.client.get("/v1/audit?action=vacation")).json()["items"]
    assert line["object"] == "alice@example.test"


def test_what_accounts_may_do_is_about_themselves() -> None:
    assert {name for name, rule in RULES.items() if rule.me or rule.own} == {
        *(name for name in RULES if "My" in name),
        *("classifyMessage", "listContentAccess", "listSignIns"),
    }
