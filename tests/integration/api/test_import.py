"""Bulk import of accounts and aliases: results by line, repeats, limits, bounded memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from argon2 import PasswordHasher

from posthorn.ports.api_keys import Role
from posthorn.runtime import least_rate
from posthorn_api.bulk import service as imports
from posthorn_api.bulk.service import BATCH, LONGEST_LINE, BulkImportService
from tests.support.api import ADMIN_KEY, Api, problem
from tests.support.polling import BUSY_SECONDS

NDJSON = "application/x-ndjson"
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("correct horse")
OTHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("another horse")


@pytest.fixture
async def api(api: Api) -> Api:
    await api.domain("acme.test")
    return api


async def send(
    api: Api, what: str, *lines: dict[str, Any] | str, headers: dict[str, str] | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Import lines. Return the answers to them and the last line."""
    body = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    answer = await api.client.post(
        f"/v1/import/{what}",
        content=body,
        headers={"Content-Type": "application/x-ndjson", **(headers or {})},
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    *results, last = (json.loads(line) for line in answer.text.splitlines())
    return results, last


def account(name: str, **fields: Any) -> dict[str, Any]:
    return {"address": f"{name}@acme.test", "password_hash": HASH, **fields}


async def test_a_plan_says_what_would_come_of_an_import_and_creates_nothing(api: Api) -> None:
    await api.client.patch("/v1/domains/acme.test", json={"max_accounts": 3})
    document = {
        "accounts": [
            {"address": "kept@acme.test", "password_hash": HASH, "quota_bytes": 5},
            {"address": "same@acme.test", "password_hash": HASH},
        ],
        "aliases": [{"address": "all@acme.test", "targets": ["same@acme.test"]}],
    }
    applied = await api.client.put("/v1/config?manager=argo-cd", json=document)
    assert applied.json()["failed"] == 0, applied.text
    everything = (
        "SELECT count(*) AS audited, (SELECT count(*) FROM accounts) AS accounts FROM audit"
    )
    (before,) = await api.sql(everything)
    lines = (
        account("kept", quota_bytes=6),
        account("same"),
        {"address": "new@acme.test", "password": "correct horse"},
        account("one-too-many"),
        account("x", address="x@nowhere.test"),
        {"address": "weak@acme.test", "password": "short"},
    )
    planned, last = await send(api, "accounts/plan", *lines)
    assert [each["status"] for each in planned] == [
        *("failed", "unchanged", "created", "failed", "failed", "failed")
    ]
    assert [each.get("managed_by") for each in planned[:3]] == ["argo-cd", "argo-cd", None]
    assert (last["done"], last["created"], last["failed"]) == (True, 1, 4)
    (alias, other), _ = await send(
        api,
        "aliases/plan",
        {"address": "all@acme.test", "targets": ["kept@acme.test"]},
        {"address": "team@acme.test", "targets": ["kept@acme.test"]},
    )
    assert (alias["status"], alias["managed_by"], other["status"]) == (
        "failed",
        "argo-cd",
        "created",
    )
    assert await api.sql(everything) == [before]
    made, _ = await send(api, "accounts", *lines)
    assert made == planned, "the import comes to what was planned"


async def test_accounts_are_made_with_passwords_and_hashes(api: Api) -> None:
    results, last = await send(
        api,
        "accounts",
        account("a", quota_bytes=7, state="receive-only"),
        {"address": "B@Acme.Test", "password": "correct horse"},
    )
    assert results == [
        {"line": 1, "address": "a@acme.test", "status": "created"},
        {"line": 2, "address": "B@Acme.Test", "status": "created"},
    ]
    assert last == {"done": True, "lines": 2, "created": 2, "unchanged": 0, "failed": 0}
    made = (await api.client.get("/v1/accounts/a@acme.test")).json()
    assert (made["quota_bytes"], made["state"]) == (7, "receive-only")
    for table in ("mailboxes", "mailbox_subscriptions"):
        rows = await api.sql(f"SELECT count(*) AS n FROM {table} GROUP BY account_id")
        assert [row["n"] for row in rows] == [6, 6]
    hashes = await api.sql("SELECT password_hash FROM accounts ORDER BY address")
    assert hashes[0]["password_hash"] == HASH
    assert PasswordHasher().verify(hashes[1]["password_hash"], "correct horse")
    told = {row["subject"] for row in await api.sql("SELECT subject FROM directory_outbox")}
    assert {"a@acme.test", "b@acme.test"} <= told


async def test_a_line_that_fails_says_why_and_hinders_no_other(api: Api) -> None:
    await api.account("there@acme.test")
    await api.alias("alias@acme.test", "there@acme.test")
    results, last = await send(
        api,
        "accounts",
        "no json",
        account("a", what="?"),
        account("a@b"),
        {"address": "x@nowhere.test", "password_hash": HASH},
        account("alias"),
        account("there"),
        account("both", password="correct horse"),
        {"address": "none@acme.test"},
        {"address": "short@acme.test", "password": "short@acme.test"},
        account(
            "weak",
            password_hash="$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ),
        account("dear", password_hash=HASH.replace("m=8", "m=9999999")),
        account("twice"),
        account("TWICE"),
        "",
        account("good"),
    )
    fields = [
        (result["line"], [fault["field"] for fault in result.get("errors", [])])
        for result in results
    ]
    assert fields == [
        (1, ["line"]),
        (2, ["what"]),
        (3, ["address"]),
        (4, ["address"]),
        (5, ["address"]),
        (6, ["password", "quota_bytes"][:1]),
        (7, ["password_hash"]),
        (8, ["password"]),
        (9, ["password"]),
        (10, ["password_hash"]),
        (11, ["password_hash"]),
        (12, []),
        (13, ["address"]),
        (15, []),
    ]
    assert last == {"done": True, "lines": 14, "created": 2, "unchanged": 0, "failed": 12}
    assert HASH not in json.dumps(results)


async def test_an_import_that_is_repeated_changes_nothing(api: Api) -> None:
    lines = [account("a", quota_bytes=5), {"address": "b@acme.test", "password": "correct horse"}]
    await send(api, "accounts", *lines)
    before = await api.sql("SELECT a::text FROM accounts a ORDER BY id")
    results, last = await send(api, "accounts", *lines, account("c"))
    assert [result["status"] for result in results] == ["unchanged", "unchanged", "created"]
    assert last["unchanged"] == 2
    results, _ = await send(
        api,
        "accounts",
        account("a", quota_bytes=6),
        account("a", quota_bytes=5, password_hash=OTHER),
        {"address": "b@acme.test", "password": "another horse"},
    )
    assert [result["status"] for result in results] == ["failed"] * 3
    assert (await api.sql("SELECT a::text FROM accounts a ORDER BY id"))[:2] == before


@pytest.mark.parametrize("what", ["accounts", "accounts/plan"])
async def test_an_import_does_not_serve_to_guess_a_password(
    api: Api, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(imports, "MOST_WRONG_PER_DAY", 2)
    await api.account("alice@acme.test")
    right = {"address": "alice@acme.test", "password": "correct horse"}
    for _ in range(4):
        results, _ = await send(api, what, right)
        assert results[0]["status"] == "unchanged"
    for number in range(2):
        results, _ = await send(api, what, {**right, "password": f"a wrong one {number}"})
        assert results[0]["status"] == "failed"
    results, _ = await send(api, what, right)
    assert results[0]["status"] == "failed"
    assert "compared too often" in str(results[0])


async def test_the_manager_of_what_is_there_is_named(api: Api) -> None:
    document = {
        "accounts": [{"address": "a@acme.test", "password_hash": HASH, "quota_bytes": 5}],
        "aliases": [{"address": "all@acme.test", "targets": ["a@acme.test"]}],
    }
    applied = await api.client.put("/v1/config?manager=argo-cd", json=document)
    assert (applied.status_code, applied.json()["failed"]) == (200, 0), applied.text
    await send(api, "accounts", account("own"))
    before = await api.sql("SELECT m::text FROM managed_objects m ORDER BY id")
    results, _ = await send(
        api,
        "accounts",
        account("a", quota_bytes=5),
        account("own"),
        account("new"),
    )
    named = [(each["status"], each.get("managed_by")) for each in results]
    assert named == [("unchanged", "argo-cd"), ("unchanged", None), ("created", None)]
    ((result,), _) = await send(api, "accounts", account("a", quota_bytes=6))
    assert (result["status"], result["managed_by"]) == ("failed", "argo-cd")
    results, _ = await send(
        api,
        "aliases",
        {"address": "all@acme.test", "targets": ["a@acme.test"]},
        {"address": "all@acme.test", "targets": ["own@acme.test"]},
        {"address": "few@acme.test", "targets": ["own@acme.test"]},
    )
    named = [(each["status"], each.get("managed_by")) for each in results]
    assert named == [("unchanged", "argo-cd"), ("failed", "argo-cd"), ("created", None)]
    assert await api.sql("SELECT m::text FROM managed_objects m ORDER BY id") == before


async def test_limits_let_in_exactly_what_fits(api: Api) -> None:
    await api.client.patch("/v1/domains/acme.test", json={"max_accounts": 3, "quota_bytes": 10})
    results, _ = await send(
        api, "accounts", *(account(f"a{n}", quota_bytes=4) for n in range(3)), account("b")
    )
    assert [result["status"] for result in results] == ["created", "created", "failed", "failed"]
    results, _ = await send(api, "accounts", *(account(f"c{n}", quota_bytes=1) for n in range(3)))
    assert [result["status"] for result in results] == ["created", "failed", "failed"]


async def test_aliases_may_lead_to_those_before_them(api: Api) -> None:
    await api.account("a@acme.test")
    lines = [
        {"address": "x@acme.test", "targets": ["a@acme.test"]},
        {"address": "y@acme.test", "targets": ["x@acme.test", "out@elsewhere.test"]},
        {"address": "z@acme.test", "targets": ["nobody@acme.test"]},
        {"address": "a@acme.test", "targets": ["x@acme.test"]},
    ]
    results, last = await send(api, "aliases", *lines)
    assert [result["status"] for result in results] == ["created", "created", "failed", "failed"]
    assert results[2]["errors"][0]["field"] == "targets[0]"
    results, _ = await send(api, "aliases", lines[0], {**lines[1], "targets": ["a@acme.test"]})
    assert [result["status"] for result in results] == ["unchanged", "failed"]
    assert last["lines"] == 4
    assert (await api.client.get("/v1/aliases/y@acme.test")).json()["targets"] == lines[1][
        "targets"
    ]


async def test_a_tenant_imports_into_its_own_domains_and_leaves_a_line_in_the_log(api: Api) -> None:
    tenant = await api.tenant("other")
    await api.domain("other.test", tenant="other")
    admin = await api.key(Role.TENANT_ADMIN, tenant)
    mine = {"address": "a@other.test", "password_hash": HASH}
    results, _ = await send(api, "accounts", mine, account("a"), headers=admin)
    assert [result["status"] for result in results] == ["created", "failed"]
    (line,) = (await api.client.get("/v1/audit", params={"action": "account.import"})).json()[
        "items"
    ]
    assert (line["object"], line["details"]) == ("1 accounts", {"created": ["a@other.test"]})
    for role in (Role.READ_ONLY, Role.SEND_ONLY):
        answer = await api.client.post(
            "/v1/import/accounts", content="", headers=await api.key(role, tenant)
        )
        problem(answer, 403, "forbidden")


async def test_more_than_a_batch_is_streamed_in_pieces(api: Api) -> None:
    count = 2 * BATCH + 3

    async def pieces() -> AsyncIterator[bytes]:
        for chunk in chunks():
            yield chunk

    def chunks() -> Iterator[bytes]:
        octets = (
            "".join(json.dumps(account(f"u{n}")) + "\n" for n in range(count)).encode().rstrip()
        )
        for start in range(0, len(octets), 10_007):
            yield octets[start : start + 10_007]

    async with api.client.stream(
        "POST",
        "/v1/import/accounts",
        content=pieces(),
        headers={"Content-Type": "application/x-ndjson"},
    ) as answer:
        seen = [json.loads(line) async for line in answer.aiter_lines()]
    assert seen[-1] == {"done": True, "lines": count, "created": count, "unchanged": 0, "failed": 0}
    assert [line["line"] for line in seen[:-1]] == list(range(1, count + 1))
    rows = await api.sql("SELECT count(*) AS n FROM accounts")
    assert rows[0]["n"] == count


async def test_a_line_without_end_breaks_the_import_off(api: Api) -> None:
    results, last = await send(api, "accounts", account("a"), "x" * (LONGEST_LINE + 70_000))
    assert results == []
    assert (last["done"], last["status"]) == (False, 422)
    assert "line 2" in last["detail"]


async def test_what_is_no_ndjson_is_refused(api: Api) -> None:
    answer = await api.client.post("/v1/import/accounts", json={"address": "a@acme.test"})
    problem(answer, 415, "unsupported-media-type")


async def test_a_key_that_is_taken_away_ends_the_import_it_has_open(api: Api) -> None:
    made = (
        await api.client.post(
            "/v1/api-keys", json={"name": "thief", "role": "tenant-admin", "tenant": "default"}
        )
    ).json()

    async def pieces() -> AsyncIterator[bytes]:
        yield json.dumps(account("before")).encode() + b"\n"
        assert (await api.client.delete(f"/v1/api-keys/{made['id']}")).status_code == 204
        await asyncio.sleep(2)  # by then every server knows
        yield json.dumps(account("after")).encode() + b"\n"

    headers = {"Content-Type": "application/x-ndjson", "Authorization": f"Bearer {made['key']}"}
    async with api.client.stream(
        "POST", "/v1/import/accounts", content=pieces(), headers=headers
    ) as answer:
        (last,) = [json.loads(line) async for line in answer.aiter_lines()]
    assert (last["done"], last["status"], last["created"]) == (False, 401, 0)


async def begin(
    api: Api, headers: dict[str, str] | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Begin an import whose answers nobody reads unless the test does."""
    host, _, port = api.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**16)
    shown = headers or {"Authorization": f"Bearer {ADMIN_KEY}"}
    lines = (
        "POST /v1/import/accounts HTTP/1.1",
        "Host: x",
        f"Authorization: {shown['Authorization']}",
    )
    rest = ("Content-Type: application/x-ndjson", "Transfer-Encoding: chunked", "", "")
    writer.write("\r\n".join((*lines, *rest)).encode())
    return reader, writer


def chunk(octets: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(octets), octets)


async def test_answers_that_nobody_reads_are_bounded(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit's p8a: 800 kB of lines of two bytes made 56 MiB of answers on disk."""
    monkeypatch.setattr(imports, "SPOOL_BYTES", 256 * 1024)
    made: list[imports.Answers] = []
    plain = imports.Answers._tell
    most = 0

    def tell(answers: imports.Answers, line: dict[str, object]) -> None:
        nonlocal most
        plain(answers, line)
        made.append(answers)
        most = max(most, answers._written)

    monkeypatch.setattr(imports.Answers, "_tell", tell)
    reader, writer = await begin(api)
    sending = asyncio.create_task(sent(writer, 200_000))
    try:
        async with asyncio.timeout(60):
            told = -1
            while told != len(made) or not made:
                told = len(made)
                await asyncio.sleep(1)
        assert told < 200_000, "nothing more is read while nobody reads the answers"
        async with asyncio.timeout(120):
            octets = bytearray()
            while b'"done"' not in octets[-400:]:
                octets += await reader.read(2**16)
        await sending
    finally:
        sending.cancel()
        writer.close()
    assert b'"lines": 200000' in octets[-400:]
    assert most < 256 * 1024 + 600 * BATCH


async def sent(writer: asyncio.StreamWriter, lines: int) -> None:
    for _ in range(lines // 10_000):
        writer.write(chunk(b"x\n" * 10_000))
        await writer.drain()
    writer.write(b"0\r\n\r\n")


async def test_whoever_never_reads_is_given_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "SPOOL_BYTES", 64 * 1024)
    monkeypatch.setattr(imports, "UNREAD_SECONDS", 0.3)
    given_up: list[None] = []

    class Unread(imports._Unread):
        def __init__(self) -> None:
            given_up.append(None)

    monkeypatch.setattr(imports, "_Unread", Unread)
    reader, writer = await begin(api)
    sending = asyncio.create_task(sent(writer, 200_000))
    async with asyncio.timeout(60):
        while not given_up:
            await asyncio.sleep(0.05)
    octets = bytearray()
    async with asyncio.timeout(60):
        while b'"done"' not in octets[-400:]:
            octets += await reader.read(2**16)
    sending.cancel()
    writer.close()
    assert b'"status": 408' in octets[-400:]
    assert b"not read in time" in octets[-400:]


async def test_a_batch_is_bounded_in_bytes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit's p8b: 499 long lines were held in memory."""
    batches: list[int] = []
    plain = BulkImportService._accounts

    async def noted(self: BulkImportService, caller: Any, batch: Any, **options: Any) -> Any:
        batches.append(len(batch))
        return await plain(self, caller, batch, **options)

    monkeypatch.setattr(BulkImportService, "_accounts", noted)
    padding = " " * (100 * 1024)
    results, last = await send(
        api, "accounts", *(json.dumps(account(f"u{n}")) + padding for n in range(40))
    )
    assert last["created"] == len(results) == 40
    assert max(batches) <= 11


async def test_imports_of_one_tenant_keep_no_other_tenant_out(api: Api) -> None:
    tenant = await api.tenant("slow")
    slow = await api.key(Role.TENANT_ADMIN, tenant)
    held = [await begin(api, slow) for _ in range(2)]
    async with asyncio.timeout(BUSY_SECONDS):
        while api.imports.slots.held_by(tenant) < 2:
            await asyncio.sleep(0.01)
    api.imports.slots.wait_seconds = 0.2
    answer = await api.client.post(
        "/v1/import/accounts", content="", headers={**slow, "Content-Type": NDJSON}
    )
    problem(answer, 429, "too-many-requests")
    results, _ = await send(api, "accounts", account("a"))
    assert results[0]["status"] == "created"
    for _, writer in held:
        writer.close()
    async with asyncio.timeout(BUSY_SECONDS):
        while api.imports.slots.held_by(tenant):
            await asyncio.sleep(0.01)


async def test_an_import_that_is_too_slow_is_broken_off(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(least_rate, "_WINDOW_SECONDS", 0.3)
    reader, writer = await begin(api)
    async with asyncio.timeout(BUSY_SECONDS):
        octets = b""
        while b'"done"' not in octets:
            writer.write(chunk(b" "))
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    octets += await reader.read(2**16)
    writer.close()
    assert b'"status": 408' in octets
