"""SORT and THREAD (RFC 5256, RFC 5267, RFC 5957)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from posthorn_imap import search_order
from posthorn_imap.pacing import Pace
from tests.support.imap import Dialogue, ImapEnv

HEADERS = [
    # date, from, to, subject, message id, references
    ("3 Jan 2024 10:00:00 +0000", "zoe@example.test", "bob", "Re: plan", "b", "<a@x>"),
    ("2 Jan 2024 23:00:00 -0500", '"Ada, L." <mia@example.test>', "ann", "plan", "a", ""),
    (
        "1 Jan 2024 10:00:00 +0000",
        "=?utf-8?q?=C3=84rzte?= <adam@example.test>",
        "",
        "[x] Apfel",
        "c",
        "",
    ),
    ("nonsense", "", "cyd", "=?utf-8?q?=C3=84pfel?=", "d", "<b@x>"),
]


async def placed(mail: ImapEnv) -> Dialogue:
    for place, (date, from_, to, subject, id_, refs) in enumerate(HEADERS):
        fields = {
            "Date": date,
            "From": from_,
            "To": f"{to}@example.test" if to else "",
            "Subject": subject,
            "Message-ID": f"<{id_}@x>",
            "References": refs,
        }
        header = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
        content = f"{header}\r\n{'x' * (100 - 10 * place)}\r\n".encode()
        await mail.place(content, date=datetime(2024, 2, 10 + (place * 7) % 4, tzinfo=UTC))
    return await mail.client("INBOX")


async def test_sort(mail: ImapEnv) -> None:
    client = await placed(mail)
    for criteria, expected in {
        "ARRIVAL": b"1 4 3 2",
        "REVERSE ARRIVAL": b"2 3 4 1",
        "DATE": b"3 2 1 4",  # with zones; the last has no valid date
        "SIZE": b"4 3 2 1",
        "SUBJECT": b"3 4 1 2",
        "REVERSE SUBJECT DATE": b"2 1 4 3",
        "REVERSE SUBJECT": b"1 2 4 3",  # equal ones by number all the same
        "FROM": b"4 3 2 1",
        "TO": b"3 2 1 4",
        "CC": b"1 2 3 4",
        "DISPLAYFROM": b"4 2 3 1",
        "DISPLAYTO": b"3 2 1 4",
        "SUBJECT REVERSE ARRIVAL": b"3 4 2 1",
        "SUBJECT REVERSE ARRIVAL SUBJECT": b"3 4 2 1",
    }.items():
        [line] = await client.ok(f"SORT ({criteria}) UTF-8 ALL")
        assert line == b"* SORT " + expected, criteria
    assert await client.ok("UID SORT (SIZE) US-ASCII NOT SUBJECT apfel") == [b"* SORT 4 2 1"]
    assert await client.ok("SORT (SIZE) UTF-8 KEYWORD none") == [b"* SORT"]


async def test_esort(mail: ImapEnv) -> None:
    client = await placed(mail)
    for returns, expected in {
        "ALL COUNT": b" COUNT 4 ALL 4,3,2,1",
        "MIN MAX": b" MIN 4 MAX 1",
        "PARTIAL 1:2": b" PARTIAL (1:2 4,3)",
        "PARTIAL -1:-2": b" PARTIAL (-1:-2 2,1)",
    }.items():
        [line] = await client.ok(f"SORT RETURN ({returns}) (SIZE) UTF-8 ALL")
        assert line.partition(b")")[2] == expected, returns
    assert await client.ok("SORT RETURN (SAVE MIN) (SIZE) UTF-8 ALL") != []
    assert (await client.ok("SEARCH $"))[-1] == b"* SEARCH 4"
    [line] = await client.ok("SORT (SIZE) UTF-8 MODSEQ 1")
    assert line == b"* SORT 4 3 2 1 (MODSEQ 5)"


async def test_thread(mail: ImapEnv) -> None:
    client = await placed(mail)
    assert await client.ok("THREAD REFERENCES UTF-8 ALL") == [b"* THREAD (3)(2 1 4)"]
    assert await client.ok("UID THREAD ORDEREDSUBJECT UTF-8 ALL") == [b"* THREAD (3)(2 1)(4)"]
    assert await client.ok("THREAD REFERENCES UTF-8 NOT 2") == [b"* THREAD (3)(1 4)"]
    assert await client.ok("THREAD REFERENCES UTF-8 KEYWORD none") == [b"* THREAD"]


async def test_headers_of_many_messages_are_refused(
    mail: ImapEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await placed(mail)
    monkeypatch.setattr("posthorn_imap.search_order.MOST_MESSAGES", 3)
    assert (await client.no("SORT (SUBJECT) UTF-8 ALL")).startswith(b"NO [LIMIT] ")
    assert (await client.no("THREAD REFERENCES UTF-8 ALL")).startswith(b"NO [LIMIT] ")
    assert await client.ok("SORT (REVERSE SIZE) UTF-8 ALL") == [b"* SORT 1 2 3 4"]


async def test_what_sort_and_thread_hold_of_each_message_is_bounded(
    mail: ImapEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message may have a subject of 256 KiB and name a thousand others, and be copied."""
    client = await placed(mail)
    monkeypatch.setattr("posthorn_imap.search_order.KEY_CHARACTERS", 1)
    assert await client.ok("SORT (SUBJECT) UTF-8 ALL") == [b"* SORT 3 4 1 2"]
    assert await client.ok("SORT (DISPLAYTO) UTF-8 ALL") == [b"* SORT 3 2 1 4"]
    assert await client.ok("SORT (FROM) UTF-8 1,3") == [b"* SORT 3 1"]
    many = " SUBJECT REVERSE FROM" * 300
    sort = search_order._sorted
    sorted_ = []

    async def counting(items: Iterable[Any], pace: Pace) -> list[Any]:
        sorted_.append(1)
        return await sort(items, pace)

    with monkeypatch.context() as patch:
        patch.setattr(search_order, "_sorted", counting)
        await client.ok(f"SORT ({many.strip()}) UTF-8 ALL")
    assert len(sorted_) == 3
    monkeypatch.setattr("posthorn_imap.search_order.MOST_REFERENCE_BYTES", 100)
    assert (await client.no("THREAD REFERENCES UTF-8 ALL")).startswith(b"NO [LIMIT] ")
