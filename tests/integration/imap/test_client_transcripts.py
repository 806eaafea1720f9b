"""What mail clients send, held with the service over sockets: every reply is one that the client can
work with."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime
from pathlib import Path

from tests.support.imap import PASSWORD, ImapEnv, imap_server
from tests.support.imap_transcripts import hold

TRANSCRIPTS = Path(__file__).with_name("transcripts")
DATE = datetime(2024, 2, 29, 9, 5, 6, tzinfo=UTC)
ATTACHMENT = base64.encodebytes(bytes(range(256)) * 2400).replace(b"\n", b"\r\n")


def header(number: int, subject: str = "") -> bytes:
    return (
        f"From: Ann <ann@example.org>\r\nTo: me@example.test\r\nSubject: {subject or f'message {number}'}\r\n"
        f"Date: Thu, 29 Feb 2024 10:05:06 +0100\r\nMessage-ID: <{number}@example.org>\r\nMIME-Version: 1.0\r\n"
    ).encode()


def simple(number: int, subject: str = "") -> bytes:
    return header(number, subject) + b"\r\nText of message %d.\r\n" % number


ALTERNATIVE = header(5) + (
    b'Content-Type: multipart/alternative; boundary="alt"\r\n\r\n--alt\r\nContent-Type: text/plain\r\n\r\n'
    b"plain\r\n--alt\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"<p>html =C3=A9</p>\r\n--alt--\r\n"
)
MIXED = header(7) + (
    b'Content-Type: multipart/mixed; boundary="mix"\r\n\r\npreamble\r\n--mix\r\n\r\nSee the file.\r\n--mix\r\n'
    b'Content-Type: application/pdf; name="a.pdf"\r\nContent-Disposition: attachment; filename="a.pdf"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\n" + ATTACHMENT + b"--mix--\r\n"
)
FORWARDED = header(9) + b"Content-Type: message/rfc822\r\n\r\n" + simple(90)
BOX = [
    simple(1), simple(2), simple(3), simple(4), ALTERNATIVE, simple(6), MIXED,
    simple(8, "=?utf-8?q?Gr=C3=BC=C3=9Fe?="), FORWARDED, simple(10), simple(11), simple(12),
]  # fmt: skip
"""INBOX of each client's account: UIDs 1 to 12, the first three seen, the fourth answered and
flagged."""


async def fill(imap: ImapEnv, address: str) -> None:
    await imap.client(address=address)
    for contents, flags in ((BOX[:3], ["\\Seen"]), (BOX[3:4], ["\\Answered", "\\Flagged"])):
        await imap.place(*contents, address=address, flags=flags, date=DATE)
    await imap.place(*BOX[4:], address=address, date=DATE)


async def test_every_client_gets_what_it_asks_for(imap: ImapEnv) -> None:
    faults: list[str] = []
    texts = sorted(TRANSCRIPTS.glob("*.txt"))
    assert len(texts) >= 10
    async with imap_server(imap) as server:
        for path in texts:
            address = f"{path.stem}@example.test"
            await fill(imap, address)
            plain = base64.b64encode(f"\0{address}\0{PASSWORD}".encode()).decode()
            variables = {"user": address, "password": PASSWORD, "plain": plain}
            try:
                async with asyncio.timeout(60):
                    await hold(path.read_text(), server.port, variables)
            except (AssertionError, TimeoutError) as error:
                faults.append(f"{path.name}: {error!s}")
    assert not faults, "\n".join(faults)
