"""Malformed mail through ENVELOPE, BODYSTRUCTURE, every part and its decoded form: no exception,
and all sizes agree."""

from __future__ import annotations

import re
from typing import Any

from tests.support.imap import ALICE, Dialogue, ImapEnv, split_replies
from tests.support.malformed import MALFORMED


def parse(octets: bytes, at: int = 0) -> tuple[Any, int]:
    """Read one value of a reply: NIL, a number, a string or a list of them."""
    if octets[at : at + 1] == b"(":
        found = []
        at += 1
        while octets[at : at + 1] != b")":
            at += octets[at : at + 1] == b" "
            value, at = parse(octets, at)
            found.append(value)
        return found, at + 1
    if octets[at : at + 1] == b'"':
        end = re.compile(rb'"((?:[^"\\\r\n\0]|\\["\\])*)"').match(octets, at)
        assert end, octets[at : at + 80]
        return end[1], end.end()
    if literal := re.compile(rb"~?\{(\d+)\}\r\n").match(octets, at):
        start = literal.end()
        return octets[start : start + int(literal[1])], start + int(literal[1])
    atom = re.compile(rb"[A-Za-z0-9.<>\[\]]+").match(octets, at)
    assert atom, octets[at : at + 80]
    if atom[0] == b"NIL":
        return None, atom.end()
    return (int(atom[0]) if atom[0].isdigit() else atom[0]), atom.end()


async def item(client: Dialogue, number: int, name: str) -> Any:
    """Return the value of an item."""
    [line] = await client.ok(f"FETCH {number} {name}")
    values, end = parse(line, line.index(b"("))
    assert end == len(line)
    return values[1]


def check_envelope(envelope: Any) -> None:
    """Check types (RFC 9051 §9, envelope)."""
    assert len(envelope) == 10
    for text in (*envelope[:2], *envelope[8:]):
        assert text is None or isinstance(text, bytes)
    for addresses in envelope[2:8]:
        assert addresses is None or addresses
        for address in addresses or ():
            assert len(address) == 4
            assert all(each is None or isinstance(each, bytes) for each in address)


def leaves(structure: Any, number: str = "") -> list[tuple[str, Any]]:
    """Return the parts with their numbers; check the structure (RFC 9051 §9, body)."""
    if isinstance(structure[0], list):
        parts = [each for each in structure if isinstance(each, list)]
        count = next(place for place, each in enumerate(structure) if isinstance(each, bytes))
        parts = structure[:count]
        found = []
        for place, part in enumerate(parts, 1):
            found += leaves(part, f"{number}.{place}".lstrip("."))
        return found
    kind, subtype, parameters, _, _, encoding, size = structure[:7]
    assert kind
    assert subtype
    assert encoding
    assert isinstance(size, int)
    assert size >= 0
    for text in parameters or ():
        assert isinstance(text, bytes)
    assert parameters is None or (parameters and len(parameters) % 2 == 0)
    number = number or "1"
    found = [(number, structure)]
    if kind.upper() == b"MESSAGE" and len(structure) > 8 and isinstance(structure[7], list):
        check_envelope(structure[7])
        assert structure[9] >= 0
        inner = structure[8]
        if isinstance(inner[0], list):
            found += leaves(inner, number)
        else:
            found += leaves(inner, f"{number}.1")
    elif kind.upper() == b"TEXT":
        assert structure[7] >= 0
    return found


async def test_malformed_mail(mail: ImapEnv) -> None:
    await mail.place(*MALFORMED.values())
    client = await mail.client("INBOX")
    for number, (name, content) in enumerate(MALFORMED.items(), 1):
        assert await item(client, number, "RFC822.SIZE") == len(content), name
        assert await item(client, number, "BODY.PEEK[]") == content, name
        header = await item(client, number, "BODY.PEEK[HEADER]")
        assert header + await item(client, number, "BODY.PEEK[TEXT]") == content, name
        check_envelope(await item(client, number, "ENVELOPE"))
        for fields in ("HEADER.FIELDS (Subject)", "HEADER.FIELDS.NOT (Subject)"):
            [line] = await client.ok(f"FETCH {number} BODY.PEEK[{fields}]")
            assert line.endswith(b"\r\n)"), name
        assert isinstance(await item(client, number, "PREVIEW"), bytes), name
        leaves(await item(client, number, "BODY"))
        found = leaves(await item(client, number, "BODYSTRUCTURE"))
        assert found
        for part, structure in found[:6] + found[-2:]:
            octets = await item(client, number, f"BODY.PEEK[{part}]")
            assert octets is not None, (name, part)
            assert len(octets) == structure[6], (name, part)
            assert await item(client, number, f"BODY.PEEK[{part}]<1.5>") == octets[1:6]
            mime = await item(client, number, f"BODY.PEEK[{part}.MIME]")
            assert mime + octets in content, (name, part)
            *decoded, last = await client.ask(
                f"FETCH {number} (BINARY.SIZE[{part}] BINARY.PEEK[{part}])"
            )
            if last.startswith(b"NO [UNKNOWN-CTE]"):
                assert structure[5].upper() == b"X-NONE"
                continue
            values, _ = parse(decoded[0], decoded[0].index(b"("))
            assert values[1] == len(values[3]), (name, part)
    assert mail.accounts[ALICE]


async def test_nothing_of_a_message_ends_a_reply_greenmail_1010(mail: ImapEnv) -> None:
    """In one FETCH of everything each message has one reply, also after UTF8=ACCEPT."""
    await mail.place(*MALFORMED.values())
    client = await mail.client("INBOX")
    for _ in range(2):
        sent = await client.feed(b"a FETCH 1:* (UID ENVELOPE BODYSTRUCTURE PREVIEW)\r\n")
        *replies, last = split_replies(sent)
        assert last == b"a OK done"
        assert len(replies) == len(MALFORMED)
        for line in replies:
            assert parse(line, line.index(b"("))[1] == len(line)
        await client.ok("ENABLE UTF8=ACCEPT")
