"""Export and import of mailboxes: the same octets come out and go in again, and what goes wrong
is seen."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
import tarfile
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.postgres.mailboxes.transfers import PostgresTransfers
from posthorn.ports.api_keys import Role
from posthorn.ports.errors import Unavailable
from posthorn.runtime import least_rate
from posthorn.wire.archive.tar import END, file_header, padding
from posthorn_api.transfers import service as transfer_service
from tests.support.api import Api, problem
from tests.support.polling import BUSY_SECONDS, until
from tests.support.seed import DatabaseSeed

pytestmark = pytest.mark.usefixtures("accounts")

ALICE, BOB = "/v1/accounts/alice@example.test", "/v1/accounts/bob@example.test"
MAX_SIZE = 300_000
FORMATS = ("mbox", "maildir", "eml")


class Shaky(FileBlobs):
    """A store whose next writes fail, or that cannot be read."""

    failing = 0
    puts = 0

    async def put(self, key: str, parts: Any) -> None:
        if self.failing:
            self.failing -= 1
            raise Unavailable("blobs", "as the test wants it")
        self.puts += 1
        await super().put(key, parts)


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[Shaky]:
    files = Shaky(tmp_path / "blobs")
    await files.open()
    yield files
    files.close()


@pytest.fixture
def api_options() -> dict[str, Any]:
    return {"max_size": MAX_SIZE}


def mbox(*contents: bytes, date: str = "Mon Jan  1 10:20:30 2024") -> bytes:
    line = f"From a@elsewhere.test {date}\n".encode()
    ends = (b"" if content.endswith(b"\n") or not content else b"\n" for content in contents)
    return b"".join(
        line + content + end + b"\n" for content, end in zip(contents, ends, strict=True)
    )


def archive(files: Iterable[tuple[str, bytes]]) -> bytes:
    return (
        b"".join(
            file_header(path, len(octets), 12) + octets + padding(len(octets))
            for path, octets in files
        )
        + END
    )


async def take_in(api: Api, octets: bytes, to: str = BOB, **query: str) -> httpx.Response:
    return await api.client.post(f"{to}/import", params={"format": "mbox"} | query, content=octets)


async def summary(api: Api, octets: bytes, to: str = BOB, **query: str) -> tuple[int, int, int]:
    answer = await take_in(api, octets, to, **query)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["messages"] == found["imported"] + found["duplicates"] + found["failed"]
    return found["imported"], found["duplicates"], found["failed"]


async def held(api: Api, account: str) -> list[tuple[str, list[str], str, bytes]]:
    """Mailbox, flags, time and octets of all messages, in the order of their uids."""
    found = []
    for box in (await api.client.get(f"{account}/mailboxes")).json()["items"]:
        query = {"mailbox": box["name"], "limit": "500"}
        for item in reversed(
            (await api.client.get(f"{account}/messages", params=query)).json()["items"]
        ):
            raw = await api.client.get(f"{account}/messages/{item['id']}/raw")
            found.append((box["name"], item["flags"], item["received_at"], raw.content))
    return found


@pytest.fixture(scope="session")
def messages() -> list[bytes]:
    """Some hundred messages of every kind, and some large ones, all different."""
    chosen = random.Random(7)
    lines = [
        b"From here",
        b">From a",
        b"From a@b.test Mon Jan  1 00:00:00 2024",
        b"",
        b".",
        b"Status: RO",
        b"\xff\x00",
        b"x" * 90,
    ]
    made = []
    for number in range(150):
        head = chosen.choice(
            [
                b"Return-Path: <r@elsewhere.test>\r\nSubject: s\r\n",
                b"Status: O\r\n",
                b"From: a\r\n",
                b"\r\n",
                b"",
            ]
        )
        body = [chosen.choice(lines) for _ in range(chosen.randrange(8))]
        made.append(head + b"\r\n" + b"".join(line + b"\r\n" for line in body) + b"%d\r\n" % number)
    made += [
        b"Subject: large\r\n\r\n" + bytes([65 + n]) * 70 + b"\r\nFrom \r\n" * 30_000
        for n in range(2)
    ]
    return made


@pytest.mark.parametrize("form", FORMATS)
async def test_what_is_exported_and_imported_elsewhere_is_the_same(
    api: Api, seed: DatabaseSeed, messages: list[bytes], form: str
) -> None:
    files = [
        (f"{box}/cur/{1_700_000_000 + number}.{number}:2,{flags}", content)
        for number, content in enumerate(messages)
        for box, flags in [
            (("INBOX", "Work/Ä b", "Trash")[number % 3], ("", "S", "FRS", "DT")[number % 4])
        ]
    ]
    assert await summary(api, archive(files), ALICE, format="maildir") == (len(messages), 0, 0)
    there = await held(api, ALICE)
    assert sorted(octets for *_, octets in there) == sorted(messages), (
        "with the flags and dates of the names"
    )
    assert {(box, tuple(flags)) for box, flags, _, _ in there} >= {
        ("Trash", ("seen",)),
        ("INBOX", ("deleted", "draft")),
    }

    out = await api.client.get(f"{ALICE}/export", params={"format": form})
    assert out.status_code == 200
    assert out.headers["posthorn-messages"] == str(len(messages))
    assert out.headers["posthorn-bytes"] == str(sum(map(len, messages)))
    assert "content-length" not in out.headers
    assert await summary(api, out.content, BOB, format=form) == (len(messages), 0, 0)
    back = await held(api, BOB)
    await seed.sums_hold()
    if form == "mbox":  # one file knows of no mailboxes
        assert [(flags, at, octets) for _, flags, at, octets in back] == [
            (flags, at, o) for _, flags, at, o in there
        ]
    elif form == "maildir":
        assert back == there
    else:
        assert [(box, octets) for box, _, _, octets in back] == [
            (box, octets) for box, _, _, octets in there
        ]
    assert await summary(api, out.content, BOB, format=form) == (0, len(messages), 0), (
        "a repeat does nothing"
    )
    assert await seed.rows("SELECT count(*) FROM leaderships") == [(0,)]


async def test_one_mailbox_is_exported(api: Api) -> None:
    files = [("INBOX/a.eml", b"A: in\r\n"), ("Sent/b.eml", b"A: sent\r\n")]
    await summary(api, archive(files), ALICE, format="eml")
    out = await api.client.get(f"{ALICE}/export", params={"format": "eml", "mailbox": "Sent"})
    with tarfile.open(fileobj=io.BytesIO(out.content)) as found:
        names = found.getnames()
        assert len(names) == 1
        assert names[0].startswith("Sent/0000000001-")
    out = await api.client.get(f"{ALICE}/export", params={"format": "mbox", "mailbox": "Junk"})
    assert (out.content, out.headers["posthorn-messages"]) == (b"", "0")
    problem(
        await api.client.get(f"{ALICE}/export", params={"format": "mbox", "mailbox": "x"}),
        404,
        "not-found",
    )
    problem(
        await api.client.get(f"{ALICE}/export", params={"format": "zip"}), 422, "invalid", "format"
    )
    problem(
        await api.client.get("/v1/accounts/x@example.test/export", params={"format": "mbox"}),
        404,
        "not-found",
    )


async def test_a_message_that_cannot_be_read_breaks_the_export_off(
    api: Api, seed: DatabaseSeed, blobs: Shaky
) -> None:
    for number in range(30):
        await summary(api, mbox(b"n: %d\n\n" % number + b"x" * 100_000), ALICE)
    keys = [key for (key,) in await seed.rows("SELECT key FROM segments ORDER BY created_at")]
    await blobs.delete(keys[-1])
    with pytest.raises(httpx.RemoteProtocolError):
        await api.client.get(f"{ALICE}/export", params={"format": "mbox"})
    await summary(api, mbox(b"n: 1\n"), BOB)
    await blobs.delete(
        await seed.value("SELECT key FROM segments ORDER BY created_at DESC LIMIT 1")
    )
    problem(await api.client.get(f"{BOB}/export", params={"format": "mbox"}), 503, "unavailable")


async def test_a_message_deleted_meanwhile_is_left_out(
    api: Api, seed: DatabaseSeed, blobs: Shaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    await summary(api, mbox(b"n: 1\n"), ALICE)
    await summary(api, mbox(b"n: 2\n"), ALICE)
    entries = PostgresTransfers.entries

    async def then_deleted(
        self: Any, contents: Any, after: Any, limit: int, ahead: bool = True
    ) -> Any:
        found = await entries(self, contents, after, limit, ahead)
        if ahead and found:
            await api.client.delete(f"{ALICE}/messages/{found[0].location.message}")
            await blobs.delete(found[0].location.key)
        return found

    monkeypatch.setattr(PostgresTransfers, "entries", then_deleted)
    out = await api.client.get(f"{ALICE}/export", params={"format": "mbox"})
    assert out.status_code == 200
    assert b"n: 2" in out.content
    assert b"n: 1" not in out.content


async def test_an_import_says_what_it_did_and_leaves_a_line_in_the_audit_log(
    api: Api, seed: DatabaseSeed
) -> None:
    octets = mbox(b"A: 1\n\nx\n", b"A: 1\n\nx\n", b"B: 1\n\n" + b"y" * MAX_SIZE, b"", b"A: 2\n")
    answer = await take_in(api, octets)
    assert answer.json() == {
        "messages": 5,
        "imported": 2,
        "duplicates": 1,
        "failed": 2,
        "imported_bytes": 17,
        "failures": [
            {"message": 3, "name": None, "reason": f"it has more than {MAX_SIZE} octets"},
            {"message": 4, "name": None, "reason": "it is empty"},
        ],
        "left_out": 0,
        "left_out_records": [],
        "from_lines_left": 0,
    }
    lines = (await api.client.get("/v1/audit", params={"action": "message.import"})).json()["items"]
    assert [line["object"] for line in lines] == ["bob@example.test"] * 2
    assert lines[1]["details"] == {"format": "mbox"}
    counts = {
        "messages": 5,
        "imported": 2,
        "duplicates": 1,
        "failed": 2,
        "left_out": 0,
        "imported_bytes": 17,
    }
    assert lines[0]["details"] == counts
    (first, _) = (await api.client.get(f"{BOB}/messages")).json()["items"]
    assert (first["received_at"], first["reverse_path"]) == (
        "2024-01-01T10:20:30Z",
        "a@elsewhere.test",
    )
    await seed.sums_hold()


async def test_many_messages_share_segments(api: Api, seed: DatabaseSeed, blobs: Shaky) -> None:
    octets = mbox(*(b"n: %d\n\n" % number + b"text " * 20 for number in range(600)))
    assert await summary(api, octets) == (600, 0, 0)
    assert blobs.puts == 3
    assert await seed.value("SELECT count(*) FROM segments WHERE condemned_at IS NULL") == 3
    assert (await api.client.get(f"{BOB}/mailboxes")).json()["items"][0]["uidnext"] == 601


async def test_where_an_archive_has_it_or_where_the_caller_wants_it(
    api: Api, seed: DatabaseSeed
) -> None:
    files = [
        ("Maildir/cur/1700000000.a:2,S", b"A: 1\n"),
        ("Maildir/.Sent.2024/new/1700000001.b", b"A: 2\n"),
        ("Maildir/dovecot.index", b"x"),
        ("a*/cur/1.c", b"A: 3\n"),
        ("../../etc/cur/1.d", b"A: 4\n"),
    ]
    answer = await take_in(api, archive(files), format="maildir")
    assert (answer.json()["imported"], answer.json()["failed"]) == (2, 2)
    assert [failure["name"] for failure in answer.json()["failures"]] == [
        "a*/cur/1.c",
        "../../etc/cur/1.d",
    ]
    assert [(box, octets) for box, _, _, octets in await held(api, BOB)] == [
        ("INBOX", b"A: 1\r\n"),
        ("Sent/2024", b"A: 2\r\n"),
    ]
    assert await summary(api, archive(files), ALICE, format="maildir", mailbox="Old/1/2") == (
        4,
        0,
        0,
    )
    assert {box for box, _, _, _ in await held(api, ALICE)} == {"Old/1/2"}
    boxes = (await api.client.get(f"{ALICE}/mailboxes")).json()["items"]
    made = [box["name"] for box in boxes if box["name"].startswith("Old")]
    assert made == ["Old", "Old/1", "Old/1/2"], "with those above it"
    problem(
        await take_in(api, archive(files), format="maildir", mailbox="a//b"),
        422,
        "invalid",
        "mailbox",
    )
    await seed.sums_hold()


async def test_keywords_come_in_and_go_out_again(api: Api, seed: DatabaseSeed) -> None:
    given = [["$Forwarded", "Red"], ["RED", "$forwarded", "late"], [], ["a(b", "\\Seen", "ok"]]
    many = [f"k{number}" for number in range(63)]
    given += [[f"{each}.{number}" for each in many] for number in range(4)]
    files = b"".join(
        file_header(f"INBOX/cur/170000000{number}.a:2,S", 8, 12, keywords)
        + b"A: %d\r\n\r\n" % number
        + padding(8)
        for number, keywords in enumerate(given)
    )
    assert await summary(api, files + END, ALICE, format="maildir") == (len(given), 0, 0)
    kept = await seed.rows(
        "SELECT e.keywords FROM mailbox_entries e JOIN accounts a ON a.id = e.account_id"
        " WHERE a.address = 'alice@example.test' ORDER BY internal_date"
    )
    assert [row[0] for row in kept[:4]] == [
        ["$Forwarded", "Red"],
        ["Red", "$Forwarded", "late"],
        [],
        ["ok"],
    ]
    listed = await seed.rows(
        "SELECT b.keywords FROM mailboxes b JOIN accounts a ON a.id = b.account_id"
        " WHERE a.address = 'alice@example.test' AND b.name = 'INBOX'"
    )
    assert listed[0][0][:4] == ["$Forwarded", "Red", "late", "ok"]
    assert (len(listed[0][0]), sum(len(row[0]) for row in kept)) == (200, 202), (
        "a mailbox has no more keywords, and what is beyond them is left out"
    )
    out = await api.client.get(f"{ALICE}/export", params={"format": "maildir"})
    assert await summary(api, out.content, BOB, format="maildir") == (len(given), 0, 0)
    there = await seed.rows(
        "SELECT e.keywords FROM mailbox_entries e JOIN accounts a ON a.id = e.account_id"
        " WHERE a.address = 'bob@example.test' ORDER BY internal_date"
    )
    assert there == kept
    await seed.sums_hold()


async def test_messages_of_the_inbox_keep_the_unique_ids_of_their_pop3_server(
    api: Api, seed: DatabaseSeed, blobs: Shaky
) -> None:
    uidvalidity, account = (
        await seed.rows(
            "SELECT b.uidvalidity, a.id FROM mailboxes b JOIN accounts a ON a.id = b.account_id"
            " WHERE a.address = 'alice@example.test' AND b.mailbox_id = 1"
        )
    )[0]
    own = f"{uidvalidity:x}."

    def file(path: str, content: bytes, unique_id: str) -> bytes:
        return (
            file_header(path, len(content), 12, unique_id=unique_id)
            + content
            + padding(len(content))
        )

    async def unique_ids() -> dict[bytes, str]:
        rows = await seed.rows(
            "SELECT m.sha256, u.unique_id FROM unique_ids u JOIN mailbox_entries e"
            " ON e.account_id = u.account_id AND e.uid = u.uid AND e.mailbox_id = 1"
            " JOIN messages m ON m.id = e.message_id WHERE u.account_id = $1",
            account,
        )
        return {bytes(row[0]): row[1] for row in rows}

    # the last four: another message has it, POP3 could make it, it is no unique id
    given = ["0000a!~", "x" * 70, f"{uidvalidity + 1:x}.1", "x" * 70, f"{own}99", "x" * 71, "a b"]
    contents = [b"Subject: %d\r\n\r\n" % number for number in range(len(given))]
    files = [
        file(f"INBOX/cur/170000000{number}.a:2,S", content, unique_id)
        for number, (content, unique_id) in enumerate(zip(contents, given, strict=True))
    ]
    files.append(file("Archive/cur/1700000010.a:2,S", b"Subject: archived\r\n\r\n", "archived"))
    assert await summary(api, b"".join(files) + END, ALICE, format="maildir") == (8, 0, 0)
    kept = {
        hashlib.sha256(content).digest(): unique_id
        for content, unique_id in zip(contents[:3], given, strict=False)
    }
    assert await unique_ids() == kept
    # of a message that is gone, another may have it
    await seed.rows(
        "DELETE FROM mailbox_entries WHERE account_id = $1 AND mailbox_id = 1 AND uid ="
        " (SELECT uid FROM unique_ids WHERE account_id = $1 AND unique_id = $2)",
        *(account, given[0]),
    )
    later = b"Subject: later\r\n\r\n"
    octets = file("INBOX/cur/1700000011.a:2,S", later, given[0]) + END
    assert await summary(api, octets, ALICE, format="maildir") == (1, 0, 0)
    del kept[hashlib.sha256(contents[0]).digest()]
    kept[hashlib.sha256(later).digest()] = given[0]
    assert await unique_ids() == kept
    # one that is there already and has none gets it, as long as POP3 has not shown it
    again = [
        file(f"INBOX/cur/170000000{number}.a:2,S", content, f"late{number}")
        for number, content in enumerate([*contents[1:4], later, b"Subject: archived\r\n\r\n"])
    ]
    for table, values in (
        ("pop3_logins", "$1, current_date"),
        ("maildrop_leases", "$1, gen_random_uuid(), now(), false"),
    ):
        await seed.rows(f"INSERT INTO {table} VALUES ({values})", account)
        assert await summary(api, b"".join(again) + END, ALICE, format="maildir") == (0, 5, 0)
        assert await unique_ids() == kept
        await seed.rows(f"DELETE FROM {table}")
    assert await summary(api, b"".join(again) + END, ALICE, format="maildir") == (0, 5, 0)
    assert await unique_ids() == kept | {hashlib.sha256(contents[3]).digest(): "late2"}


async def test_dates_of_files_are_those_of_their_headers(api: Api) -> None:
    files = [
        (
            "a.eml",
            b"Received: by x\n\twith y; Tue, 2 Jan 2024 10:00:00 +0100\nReceived: z; Mon, 1 Jan 2024 10:00:00 +0000\n\n",
        ),
        ("b.eml", b"Received: nonsense\nDate: Wed, 3 Jan 2024 10:00:00 +0000\n\n"),
        ("c.eml", b"Subject: none\n\n"),
        ("d.txt", b"no mail"),
    ]
    assert await summary(api, archive(files), format="eml") == (3, 0, 0)
    assert [at for _, _, at, _ in await held(api, BOB)] == [
        "2024-01-02T09:00:00Z",
        "2024-01-03T10:00:00Z",
        "1970-01-01T00:00:12Z",
    ]


async def test_what_finds_no_room_is_told_of_and_the_rest_goes_in(
    api: Api, seed: DatabaseSeed
) -> None:
    await api.client.patch(BOB, json={"quota_bytes": 2500})
    await seed.drain_outbox()
    octets = mbox(
        b"a" * 998 + b"\n", b"b" * 1998 + b"\n", b"c" * 998 + b"\n", b"d" * 498 + b"\n", b"e\n"
    )
    answer = (await take_in(api, octets)).json()
    assert (answer["imported"], answer["failed"]) == (3, 2)
    assert answer["failures"][0] == {
        "message": 2,
        "name": None,
        "reason": "the account has no room for it",
    }
    assert await seed.drain_outbox() == ["bob@example.test"], "it is full"
    await seed.sums_hold()
    await api.client.patch(BOB, json={"quota_bytes": None})
    assert await summary(api, octets) == (2, 3, 0)


async def test_a_file_that_does_not_read_is_refused(api: Api, seed: DatabaseSeed) -> None:
    problem(await take_in(api, b"A: b\n\nno mbox\n"), 422, "invalid", "body")
    problem(await take_in(api, b"x" * 2000, format="maildir"), 422, "invalid", "body")
    cut = archive([("a.eml", b"A: 1\n"), ("b.eml", b"A: 2\n" * 300)])[:1400]
    document = problem(await take_in(api, cut, format="eml"), 422, "invalid", "body")
    assert "1 messages were imported before that" in document["detail"]
    assert len(await held(api, BOB)) == 1
    problem(await take_in(api, b"", to="/v1/accounts/x@example.test"), 404, "not-found")
    problem(await take_in(api, b"", format="x"), 422, "invalid", "format")
    assert await summary(api, b"") == (0, 0, 0)
    assert await seed.rows("SELECT count(*) FROM leaderships") == [(0,)]


async def test_an_import_waits_for_a_store_and_gives_up_after_a_while(
    api: Api, seed: DatabaseSeed, blobs: Shaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer_service, "_PAUSES", (0.01, 0.01))
    blobs.failing = 2
    assert await summary(api, mbox(b"A: 1\n")) == (1, 0, 0)
    blobs.failing = 3
    problem(await take_in(api, mbox(b"A: 2\n")), 503, "unavailable")
    assert await summary(api, mbox(b"A: 1\n", b"A: 2\n")) == (1, 1, 0)
    await seed.sums_hold()


async def test_one_import_at_a_time_goes_into_an_account(api: Api, seed: DatabaseSeed) -> None:
    more, going = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield mbox(b"A: 1\n")
        going.set()
        await more.wait()
        yield mbox(b"A: 2\n")

    first = asyncio.create_task(
        api.client.post(
            f"{BOB}/import", params={"format": "mbox"}, content=slowly(), headers={"Expect": ""}
        )
    )
    await going.wait()
    async with asyncio.timeout(BUSY_SECONDS):
        while not await seed.rows("SELECT FROM leaderships"):
            await asyncio.sleep(0.01)
    problem(await take_in(api, mbox(b"A: 3\n")), 409, "conflict")
    assert await summary(api, mbox(b"A: 3\n"), ALICE) == (1, 0, 0)
    await seed.rows("DELETE FROM leaderships")
    more.set()
    lost = await first
    problem(lost, 409, "conflict")
    assert await held(api, BOB) == [], "whoever lost the lease places nothing"


async def test_an_upload_that_stops_is_broken_off(
    api: Api, seed: DatabaseSeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer_service, "IDLE_SECONDS", 0.2)

    async def stopping() -> AsyncIterator[bytes]:
        yield mbox(b"A: 1\n")
        await asyncio.sleep(5)

    answer = await api.client.post(f"{BOB}/import", params={"format": "mbox"}, content=stopping())
    problem(answer, 408, "timeout")
    async with asyncio.timeout(BUSY_SECONDS):
        while await seed.rows("SELECT FROM leaderships"):
            await asyncio.sleep(0.01)


async def test_only_an_import_may_be_that_long(api: Api) -> None:
    large = b"x" * (1024 * 1024 + 1)
    for method, path in (
        ("DELETE", f"{BOB}/mailboxes/import"),
        ("DELETE", f"{BOB}/mailboxes/a@b/import"),
        ("POST", f"{BOB}/mailboxes/import"),
        ("PATCH", f"{BOB}/import"),
    ):
        problem(await api.client.request(method, path, content=large), 413, "too-large")
    assert await summary(
        api, mbox(*(b"n: %d\n\n" % number + b"x" * 250_000 for number in range(6)))
    ) == (6, 0, 0)


async def trickle(
    api: Api, path: str, headers: dict[str, str], came: asyncio.Event
) -> httpx.Response:
    """The audit's p9: an import of a few octets a minute."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"From"
        came.set()
        while True:
            await asyncio.sleep(0.05)
            yield b" "

    return await api.client.post(path, params={"format": "mbox"}, content=pieces(), headers=headers)


async def test_imports_of_one_tenant_keep_no_other_tenant_out(api: Api) -> None:
    for name in ("c", "d", "e"):
        await api.account(f"{name}@example.test")
    (row,) = await api.sql("SELECT id FROM tenants WHERE name = 'default'")
    mine = await api.key(Role.TENANT_ADMIN, row["id"])
    came = [asyncio.Event() for _ in range(2)]
    free = api.transfer.importing.free
    slow = [
        asyncio.create_task(trickle(api, f"/v1/accounts/{name}@example.test/import", mine, event))
        for name, event in zip("cd", came, strict=True)
    ]
    try:
        for event in came:
            await event.wait()
        await until(lambda: api.transfer.importing.free == free - 2, what="both imports")
        api.transfer.importing.wait_seconds = 0.2
        answer = await api.client.post(
            "/v1/accounts/e@example.test/import",
            params={"format": "mbox"},
            content=mbox(b"A: 1\n"),
            headers=mine,
        )
        problem(answer, 429, "too-many-requests")
        assert json.loads(answer.headers["retry-after"]) > 0
        assert await summary(api, mbox(b"A: 1\n")) == (1, 0, 0), (
            "the platform's key is another holder"
        )
    finally:
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


async def test_an_import_that_is_too_slow_is_broken_off(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(least_rate, "_WINDOW_SECONDS", 0.3)
    with suppress(httpx.HTTPError):  # it goes on writing, and may not see the answer
        problem(await trickle(api, f"{BOB}/import", {}, asyncio.Event()), 408, "timeout")
    assert api.transfer.importing.free == transfer_service.AT_ONCE
    assert await summary(api, mbox(b"A: 1\n")) == (1, 0, 0), "its slot is free"


async def test_exports_of_one_tenant_keep_no_other_tenant_out(api: Api) -> None:
    (row,) = await api.sql("SELECT id FROM tenants WHERE name = 'default'")
    mine = await api.key(Role.TENANT_ADMIN, row["id"])
    exporting = api.transfer.exporting
    exporting.wait_seconds = 0.2
    for _ in range(2):
        await exporting.take(row["id"])
    answer = await api.client.get(f"{BOB}/export", params={"format": "mbox"}, headers=mine)
    problem(answer, 429, "too-many-requests")
    assert (await api.client.get(f"{BOB}/export", params={"format": "mbox"})).status_code == 200
    exporting.give(row["id"])
    assert (
        await api.client.get(f"{BOB}/export", params={"format": "mbox"}, headers=mine)
    ).status_code == 200
    assert exporting.free == 5


async def test_an_import_tells_what_it_left_out_and_what_it_took_for_text(api: Api) -> None:
    expunged = b"X-Mozilla-Status: 0009\nSubject: gone\n\nx\n"
    prose = b"X-Mozilla-Status: 0001\nSubject: prose\n\nShe wrote\n\nFrom time to time\nand again\n"
    summary = (await take_in(api, mbox(expunged, prose, b"Subject: last\n\ny\n"))).json()
    counts = {
        name: summary[name]
        for name in ("messages", "imported", "failed", "left_out", "from_lines_left")
    }
    assert counts == {
        "messages": 3,
        "imported": 2,
        "failed": 0,
        "left_out": 1,
        "from_lines_left": 1,
    }
    assert [
        (each["message"], "X-Mozilla-Status" in each["reason"])
        for each in summary["left_out_records"]
    ] == [(1, True)]
    items = (await api.client.get(f"{BOB}/messages")).json()["items"]
    assert {item["subject"]: "seen" in item["flags"] for item in items} == {
        "prose": True,
        "last": False,
    }
