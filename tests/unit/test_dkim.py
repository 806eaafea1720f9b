"""DKIM signing (RFC 6376, RFC 8463), judged by dkimpy: whatever we sign verifies, and whatever
is changed does not."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import BinaryIO
from uuid import UUID

import dkim
import pytest
from dkim.canonicalization import Relaxed
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posthorn.adapters.dkim import KEYS_SECONDS, DkimSigner, generate
from posthorn.ports.errors import Unavailable
from posthorn.ports.signing import DkimKey
from posthorn.runtime.ids import new_id
from posthorn.runtime.secret_box import SecretBox
from posthorn.wire.auth.canonicalization import BodyHash, relaxed
from posthorn.wire.auth.dkim import (
    SignedHeader,
    by_form,
    finished_field,
    record_name,
    record_strings,
    record_value,
    sign_header,
    unsigned_field,
)
from posthorn.wire.message.seven_bit import convert, is_fit

SECRET_BOX = SecretBox([b"k" * 32])
DOMAIN = "example.test"
AT = 1_750_000_000
PAIRS = {algorithm: generate(algorithm) for algorithm in ("rsa", "ed25519")}
DATE = datetime(2026, 1, 1, tzinfo=UTC)


def key(
    algorithm: str,
    domain: str = DOMAIN,
    *,
    secret_box: SecretBox = SECRET_BOX,
    number: UUID | None = None,
) -> DkimKey:
    private, public = PAIRS[algorithm]
    number = number or new_id()
    encrypted = secret_box.encrypt(private, f"dkim:{number}")
    return DkimKey(
        number, domain, f"s-{algorithm}", algorithm, public, encrypted, DATE, None, None, DATE
    )


class Keys:
    """Keys at hand; counts how often they are asked for."""

    def __init__(self, *keys: DkimKey) -> None:
        self.keys = keys
        self.asked = 0
        self.fault: Exception | None = None

    async def signing(self, domains: Collection[str]) -> Mapping[str, Sequence[DkimKey]]:
        self.asked += 1
        await asyncio.sleep(0)
        if self.fault:
            raise self.fault
        return {domain: [key for key in self.keys if key.domain == domain] for domain in domains}

    async def for_domain(self, tenant: UUID | None, domain: str) -> Sequence[DkimKey]:
        return self.keys

    async def rotate(
        self, tenant: UUID | None, domain: str, keys: Sequence[DkimKey], overlap: float
    ) -> Sequence[DkimKey]:
        raise NotImplementedError


BOTH = (key("ed25519"), key("rsa"))


@pytest.fixture
def signer() -> Iterator[DkimSigner]:
    made = DkimSigner(Keys(*BOTH), SECRET_BOX, clock=lambda: AT + 0.9)
    yield made
    made.close()


def dns(name: bytes, timeout: int = 5) -> bytes | None:
    for algorithm, (_, public) in PAIRS.items():
        if name.decode().rstrip(".") == record_name(DOMAIN, f"s-{algorithm}"):
            return "".join(record_strings(record_value(algorithm, public))).encode()
    return None


def verdicts(message: bytes, fields: int = 2) -> list[bool]:
    """What dkimpy says of each signature, uppermost first."""
    verifier = dkim.DKIM(message)
    return [verifier.verify(number, dnsfunc=dns) for number in range(fields)]


def seven_bit(message: bytes) -> bytes:
    return b"".join(convert(message, eight_bit=False).blocks())


HEADER = (
    b"From: Alice <alice@example.test>\r\nTo: bob@elsewhere.test\r\nSubject: Hello\r\n"
    b"Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@example.test>\r\n"
)
CORPUS = {
    "plain": HEADER + b"\r\nHello\r\n",
    "empty body": HEADER + b"\r\n",
    "no separator": HEADER,
    "body of one empty line": HEADER + b"\r\n\r\n",
    "trailing blank lines": HEADER + b"\r\nHello\r\n\r\n\r\n\r\n",
    "leading blank lines": HEADER + b"\r\n\r\n\r\nHello\r\n",
    "no trailing CRLF": HEADER + b"\r\nHello",
    "white space at line ends": HEADER + b"\r\nHello \t \r\n \t\r\nworld\t\r\n  \r\n",
    "white space inside": HEADER + b"\r\nHello  \t world\r\n\tindented   twice\r\n",
    "8-bit": HEADER.replace(b"Hello", "Grüße 你好".encode())
    + "\r\nGrüße \xff\r\n".encode("latin-1"),
    "long line": HEADER + b"\r\n" + b"x" * 100_000 + b" \t " + b"y" * 100_000 + b"\r\n",
    "folded": HEADER.replace(b"Hello", b"a\r\n  folded\t\r\n\t subject \t") + b"\r\nHello\r\n",
    "folded at once": HEADER.replace(b"Hello", b"\r\n Hello") + b"\r\nHello\r\n",
    "empty field": HEADER.replace(b" Hello", b"") + b"\r\nHello\r\n",
    "odd case": HEADER.replace(b"From", b"fROM").replace(b"Subject", b"SUBJECT") + b"\r\nHello\r\n",
    "repeated": HEADER
    + b"To: second@elsewhere.test\r\nReferences: <a>\r\nReferences: <b>\r\nTo: third@x.test\r\n\r\nx\r\n",
    "a list's fields": HEADER
    + b"List-Id: <x.test>\r\nList-Unsubscribe: <https://x.test>\r\nSender: y@x.test\r\n\r\nx\r\n",
    "unsigned fields": b"Received: from a\r\n\tby b; today\r\nX-Any: thing\r\n"
    + HEADER
    + b"X-Any: other\r\n\r\nx\r\n",
    "dot lines": HEADER + b"\r\n.\r\n..\r\n.hidden\r\n",
    "NUL": HEADER + b"\r\na\0b\r\n",
    "signed before": b"DKIM-Signature: v=1; a=rsa-sha256; d=x.test; s=y; h=from; bh=; b=\r\n"
    + HEADER
    + b"\r\nx\r\n",
}


@pytest.mark.parametrize("name", CORPUS)
async def test_what_is_signed_verifies(signer: DkimSigner, name: str) -> None:
    message = CORPUS[name]
    fields, other = by_form(await signer.sign(DOMAIN, message))
    assert verdicts(fields.encode() + message) == [True, True]
    assert re.findall(r" a=([a-z0-9-]+);", fields) == ["rsa-sha256", "ed25519-sha256"]
    assert bool(other) is not is_fit(message, eight_bit=False)
    if other:
        assert verdicts(other.encode() + seven_bit(message)) == [True, True]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_pieces_give_the_same_as_the_whole(signer: DkimSigner, size: int) -> None:
    for name, message in CORPUS.items():
        if len(message) / size > 3000:
            continue

        async def pieces(message: bytes = message) -> AsyncIterator[bytes]:
            for start in range(0, len(message), size):
                yield message[start : start + size]

        assert await signer.sign(DOMAIN, pieces) == await signer.sign(DOMAIN, message), name


# The 7-bit form

UMLAUTS = "Grüße aus Köln, über alle Länder.\r\n".encode()
MIME = HEADER + b"MIME-Version: 1.0\r\n"
TEXT = (
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + UMLAUTS
)
UNFIT = {
    "8-bit text": MIME + TEXT,
    "a long line": MIME + b"\r\n" + b"x" * 999 + b"\r\n",
    "raw header": HEADER.replace(b"Hello", "Grüße".encode()) + b"\r\nx\r\n",
    "a part of 8 bits beside a large one": MIME + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + TEXT
    + b"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n" + (b"QUJD" * 19 + b"\r\n") * 20_000
    + b"--b--\r\n",
    "large 8-bit text": MIME + TEXT + UMLAUTS * 40_000,
    "large 8-bit octets": MIME + TEXT + bytes(range(32, 256)) * 6_000 + b"\r\n",
}  # fmt: skip


def in_pieces(message: bytes, size: int = 256 * 1024) -> Callable[[], AsyncIterator[bytes]]:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(message), size):
            yield message[start : start + size]

    return pieces


@pytest.mark.parametrize("name", UNFIT)
async def test_what_not_every_host_takes_is_signed_in_both_forms_however_large(
    signer: DkimSigner, name: str
) -> None:
    message = UNFIT[name]
    fields = await signer.sign(DOMAIN, message)
    assert await signer.sign(DOMAIN, in_pieces(message)) == fields
    as_it_is, other = by_form(fields)
    assert as_it_is + other == fields
    assert verdicts(as_it_is.encode() + message) == [True, True]
    assert verdicts(other.encode() + seven_bit(message)) == [True, True]


async def test_what_cannot_be_converted_is_signed_as_it_is_alone(signer: DkimSigner) -> None:
    message = (
        MIME
        + b"Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n\r\n"
        + UMLAUTS * 10_000
        + b"--s--\r\n"
    )
    fields = await signer.sign(DOMAIN, in_pieces(message))
    assert by_form(fields) == (fields, "")
    assert verdicts(fields.encode() + message) == [True, True]


async def test_without_room_for_the_file_a_large_message_is_signed_as_it_is(
    signer: DkimSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> BinaryIO:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("posthorn.adapters.dkim.tempfile.TemporaryFile", full)
    message = UNFIT["large 8-bit text"]
    fields = await signer.sign(DOMAIN, in_pieces(message))
    assert by_form(fields) == (fields, "")
    assert verdicts(fields.encode() + message) == [True, True]


async def test_large_messages_are_converted_one_at_a_time(signer: DkimSigner) -> None:
    message, readers, most = UNFIT["large 8-bit text"], 0, 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal readers, most
        opened[0] += 1
        is_second = opened[0] > 3  # each is read once for its own hash, and then laid into the file
        readers += is_second
        most = max(most, readers)
        try:
            async for piece in in_pieces(message)():
                yield piece
        finally:
            readers -= is_second

    opened = [0]
    made = await asyncio.gather(*(signer.sign(DOMAIN, pieces) for _ in range(3)))
    assert opened == [6]
    assert most == 1
    assert all(by_form(fields)[1] for fields in made)


def test_fields_are_told_apart_by_what_they_are_over() -> None:
    tags = SignedHeader(("From", "To"), b"")
    plain, marked = (
        [
            finished_field(
                unsigned_field(DOMAIN, selector, "rsa", tags, b"h" * 32, AT, seven_bit=is_marked),
                b"s" * 256,
            )
            for selector in ("one", "form=7bit")  # a selector that looks like the tag is none
        ]
        for is_marked in (False, True)
    )
    for order in ([*plain, *marked], [*marked, *plain], [plain[0], marked[0], plain[1], marked[1]]):
        assert by_form("".join(order)) == ("".join(plain), "".join(marked))
    assert by_form("".join(plain)) == ("".join(plain), "")
    assert by_form("".join(marked)) == ("", "".join(marked))
    assert by_form("") == ("", "")


@pytest.mark.parametrize("length", [*range(1, 70), 200])
def test_the_mark_is_found_wherever_the_field_is_folded(length: int) -> None:
    tags, domain = SignedHeader(("From",), b""), "d" * length + ".test"
    field = finished_field(
        unsigned_field(domain, "s", "ed25519", tags, b"h" * 32, AT, seven_bit=True), b"s" * 64
    )
    assert by_form(field) == ("", field)


_BODY = st.lists(
    st.sampled_from(
        [b" ", b"\t", b"\r\n", b"a", b"bc", b"\xff", b"\r\n\r\n", b"  \t", b".", b"x" * 99]
    )
).map(b"".join)


@given(body=_BODY, cuts=st.lists(st.integers(0, 40)))
@example(body=b" ", cuts=[])
@example(body=b"\r\n \r\n", cuts=[1, 1])
@settings(max_examples=300, deadline=None)
def test_the_body_hash_is_dkimpys_however_it_is_cut(body: bytes, cuts: list[int]) -> None:
    hashing, rest = BodyHash(), body
    for cut in cuts:
        hashing.update(rest[:cut])
        rest = rest[cut:]
    hashing.update(rest)
    # what does not end in CRLF travels with one
    travelling = body if not body or body.endswith(b"\r\n") else body + b"\r\n"
    assert hashing.digest() == hashlib.sha256(Relaxed.canonicalize_body(travelling)).digest()


@given(body=st.binary(max_size=200), cut=st.integers(0, 200))
@settings(max_examples=200, deadline=None)
def test_any_octets_hash_the_same_in_pieces(body: bytes, cut: int) -> None:
    whole, pieces = BodyHash(), BodyHash()
    whole.update(body)
    for piece in (body[:cut], b"", body[cut:]):
        pieces.update(piece)
    assert whole.digest() == pieces.digest()


_VALUE = st.lists(st.sampled_from([*"ab Zü\t:;=.<>@", "\r\n ", "\r\n\t\t"]), max_size=60).map(
    "".join
)
_FIELDS = st.lists(
    st.tuples(st.sampled_from(["To", "cc", "Subject", "X-Other", "References", "List-Id"]), _VALUE),
    max_size=8,
)


@given(fields=_FIELDS, body=_BODY)
@settings(max_examples=150, deadline=None)
def test_any_header_signed_verifies(fields: list[tuple[str, str]], body: bytes) -> None:
    message = (
        "".join(f"{name}:{value}\r\n" for name, value in fields).encode() + HEADER + b"\r\n" + body
    )
    travelling = message if message.endswith(b"\r\n") else message + b"\r\n"
    signer = DkimSigner(Keys(*BOTH), SECRET_BOX)
    try:
        assert verdicts(asyncio.run(signer.sign(DOMAIN, message)).encode() + travelling) == [
            True,
            True,
        ]
    finally:
        signer.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda message: message.replace(b"Hello\r\nDate", b"Other\r\nDate"),
        lambda message: message + b"more\r\n",
        lambda message: message.replace(b"world", b"World"),
        lambda message: message.replace(b"t=1750000000", b"t=1750000001"),
        *(
            lambda message, name=name: message.replace(
                b"\r\nX: y\r\n", b"\r\nX: y\r\n%b: added\r\n" % name
            )
            for name in (
                b"From",
                b"Subject",
                b"To",
                b"Cc",
                b"Reply-To",
                b"Date",
                b"Content-Type",
                b"MIME-Version",
            )
        ),
    ],
)
async def test_what_is_changed_does_not_verify(signer: DkimSigner, change: object) -> None:
    message = HEADER + b"X: y\r\n\r\nHello world\r\n"
    whole = (await signer.sign(DOMAIN, message)).encode() + message
    assert callable(change)
    changed = change(whole)
    assert changed != whole
    assert verdicts(whole) == [True, True]
    try:
        assert verdicts(changed) == [False, False]
    except dkim.ValidationError as error:  # dkimpy's word for a second From
        assert "body hash mismatch" in str(error) or "From" in str(error)


async def test_what_may_change_on_the_way_does_verify(signer: DkimSigner) -> None:
    message = HEADER + b"List-Id: <x>\r\n\r\nHello world\r\n"
    fields = (await signer.sign(DOMAIN, message)).encode()
    passed_on = (
        b"Received: by z\r\n" + fields + message.replace(b"Hello\r\nDate", b"  Hello\t \r\nDate")
    )
    passed_on = passed_on.replace(b"Hello world", b"Hello \t world ") + b"\r\n\r\n"
    assert verdicts(passed_on.replace(b"\r\n\r\n", b"\r\nList-Help: <y>\r\nX: z\r\n\r\n", 1)) == [
        True,
        True,
    ]


async def test_the_field_is_folded_and_says_what_it_must(signer: DkimSigner) -> None:
    fields = await signer.sign(DOMAIN, CORPUS["repeated"])
    assert fields.endswith("\r\n")
    assert max(map(len, fields.split("\r\n"))) <= 78
    for field in fields.split("DKIM-Signature:")[1:]:
        tags = dict(tag.strip().split("=", 1) for tag in re.sub(r"\r\n[\t ]", "", field).split(";"))
        assert list(tags) == ["v", "a", "c", "d", "s", "t", "h", "bh", "b"]
        assert (tags["d"], tags["t"], tags["c"]) == (DOMAIN, str(AT), "relaxed/relaxed")
        names = [name.strip() for name in tags["h"].lower().split(":")]
        assert (
            names.count("from"),
            names.count("to"),
            names.count("reply-to"),
            names.count("references"),
        ) == (
            2,
            4,
            1,
            3,
        )
        assert not {"received", "return-path", "dkim-signature", "x-any", "sender"} & set(names)


async def test_fields_for_unsubscribing_are_signed(signer: DkimSigner) -> None:
    message = (
        b"List-Unsubscribe: <https://x.test/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
        + HEADER
        + b"\r\nx\r\n"
    )
    fields = (await signer.sign(DOMAIN, message)).encode()
    assert verdicts(fields + message) == [True, True]
    for old, new in ((b"x.test/u", b"y.test/u"), (b"One-Click", b"None")):
        assert verdicts(fields + message.replace(old, new)) == [False, False]


async def test_the_same_message_has_the_same_signature(signer: DkimSigner) -> None:
    other = DkimSigner(Keys(*reversed(BOTH)), SECRET_BOX, clock=lambda: AT)
    assert await signer.sign(DOMAIN, CORPUS["plain"]) == await other.sign(DOMAIN, CORPUS["plain"])
    other.close()


def test_relaxed_header_as_in_the_rfc() -> None:
    # RFC 6376 §3.4.5
    assert relaxed(b" X ") == b"X"
    assert relaxed(b" Y\t\r\n\tZ  ") == b"Y Z"
    signed = sign_header(b"From : a\r\nSubject: one\r\nSUBJECT:\ttwo\r\n\r\n")
    assert signed is not None
    assert signed.canonical == b"from:a\r\nsubject:two\r\nsubject:one\r\n"
    assert signed.names[:6] == ("From", "From", "Reply-To", "Subject", "Subject", "Subject")


def test_body_hashes_known_to_everybody() -> None:
    empty, two = BodyHash(), BodyHash()
    assert (
        empty.digest().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    two.update(b" C \r\nD \t E\r\n\r\n\r\n")  # RFC 6376 §3.4.5
    assert two.digest() == hashlib.sha256(b" C\r\nD E\r\n").digest()


def test_large_bodies_of_nothing_cost_little() -> None:
    for filler in (b"\r\n" * 2_000_000, b" " * 4_000_000, b"\r" * 4_000_000, b" \r" * 2_000_000):
        hashing = BodyHash()
        for start in range(0, len(filler), 65_536):
            hashing.update(filler[start : start + 65_536])
        hashing.update(b"x")
        hashing.digest()


async def test_no_key_or_no_from_is_no_signature(signer: DkimSigner) -> None:
    assert await signer.sign("elsewhere.test", CORPUS["plain"]) == ""
    assert await signer.sign(DOMAIN, b"Subject: no author\r\n\r\nx\r\n") == ""
    assert await signer.sign(DOMAIN, b"") == ""
    assert await signer.sign(DOMAIN, b"\r\nFrom: in the body\r\n") == ""


async def test_a_header_without_end_is_not_read_for_ever(signer: DkimSigner) -> None:
    given_out = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given_out
        while True:
            given_out += 1
            yield b"From: x\r\n" * 8000

    assert await signer.sign(DOMAIN, endless) == ""
    assert given_out < 20


async def test_keys_are_asked_for_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(*BOTH)
    signer = DkimSigner(keys, SECRET_BOX)
    await asyncio.gather(*(signer.sign(DOMAIN, CORPUS["plain"]) for _ in range(5)))
    await signer.sign(DOMAIN, CORPUS["plain"])
    assert keys.asked == 1
    await signer.sign("elsewhere.test", CORPUS["plain"])
    await signer.sign("elsewhere.test", CORPUS["plain"])
    assert keys.asked == 2
    monkeypatch.setattr("posthorn.adapters.dkim.time.monotonic", lambda: 1e9 + KEYS_SECONDS)
    await signer.sign(DOMAIN, CORPUS["plain"])
    assert keys.asked == 3
    signer.close()


async def test_an_outage_of_the_keys_is_unavailable_and_not_remembered() -> None:
    keys = Keys(*BOTH)
    signer = DkimSigner(keys, SECRET_BOX)
    keys.fault = Unavailable("postgres")
    for _ in range(2):
        with pytest.raises(Unavailable):
            await signer.sign(DOMAIN, CORPUS["plain"])
    keys.fault = None
    assert await signer.sign(DOMAIN, CORPUS["plain"])
    signer.close()


async def test_mail_waits_when_no_key_opens() -> None:
    other = SecretBox([b"o" * 32])
    foreign = [key("rsa", secret_box=other), key("ed25519", secret_box=other)]
    signer = DkimSigner(Keys(*foreign), SECRET_BOX)
    with pytest.raises(Unavailable, match="keys"):
        await signer.sign(DOMAIN, CORPUS["plain"])
    signer.close()
    # a row copied to another's place does not open either; the key that does open signs alone
    moved = key("rsa")
    misplaced = DkimKey(
        new_id(),
        DOMAIN,
        "s-rsa",
        "rsa",
        moved.public_key,
        moved.private_key,
        DATE,
        None,
        None,
        DATE,
    )
    signer = DkimSigner(Keys(misplaced, key("ed25519")), SECRET_BOX)
    fields = await signer.sign(DOMAIN, CORPUS["plain"])
    assert verdicts(fields.encode() + CORPUS["plain"], 1) == [True]
    assert "rsa" not in fields
    signer.close()


def test_a_record_is_cut_into_strings_of_255() -> None:
    value = record_value("rsa", PAIRS["rsa"][1])
    assert value.startswith("v=DKIM1; k=rsa; p=MIIBIjAN")
    assert [len(part) for part in record_strings(value)] == [255, len(value) - 255]
    assert "".join(record_strings(value)) == value
    assert len(record_strings(record_value("ed25519", PAIRS["ed25519"][1]))) == 1
