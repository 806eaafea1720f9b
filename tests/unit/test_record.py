"""The ingest record: what is written is read, and what is broken is told as such."""

from __future__ import annotations

import json
import string
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.model.envelope import Body, Envelope, RecordError, decode_record, encode_record
from posthorn.wire.message.header import Summary

TEXT = st.text(max_size=40)
BODIES = st.one_of(
    st.binary(max_size=300), st.sampled_from([b"", b"\n", b"\r\n", b"{}\n{}", b"\0\xff\n"])
)


@st.composite
def records(draw: st.DrawFn) -> tuple[Envelope, bytes | None]:
    body = draw(BODIES)
    blob = draw(st.one_of(st.none(), st.text(string.ascii_letters, min_size=1, max_size=20)))
    envelope = Envelope(
        id=draw(st.uuids()),
        received_at=draw(st.floats(0, 1e11)),
        reverse_path=draw(TEXT),
        recipients=tuple(draw(st.lists(TEXT, max_size=4))),
        body=Body(
            len(body),
            draw(st.binary(min_size=32, max_size=32)),
            draw(st.booleans()),
            draw(st.integers(0, 300)),
        ),
        summary=Summary(draw(TEXT), draw(TEXT), draw(TEXT), draw(TEXT)),
        blob=blob,
        helo=draw(TEXT),
        client_address=draw(TEXT),
        protocol=draw(st.sampled_from(["SMTP", "ESMTPS", "UTF8SMTP"])),
        role=draw(st.sampled_from(["mx", "submission"])),
        smtputf8=draw(st.booleans()),
    )
    return envelope, None if blob else body


@given(records())
def test_a_record_comes_back_as_it_was_written(record: tuple[Envelope, bytes | None]) -> None:
    envelope, body = record
    read = decode_record(encode_record(envelope, body))
    assert (read.envelope, read.body) == (envelope, body)


@given(records(), st.data())
def test_a_record_that_was_cut_does_not_read(
    record: tuple[Envelope, bytes | None], data: st.DataObject
) -> None:
    octets = encode_record(*record)
    cut = octets[: data.draw(st.integers(0, len(octets) - 1))]
    with pytest.raises(RecordError):
        decode_record(cut)


@given(records(), st.binary(min_size=1, max_size=5))
def test_octets_behind_a_body_do_not_read(
    record: tuple[Envelope, bytes | None], more: bytes
) -> None:
    envelope, body = record
    if body is not None:
        with pytest.raises(RecordError):
            decode_record(encode_record(envelope, body) + more)


@given(st.binary(max_size=200))
def test_no_octets_break_the_reader(octets: bytes) -> None:
    with pytest.raises(RecordError):
        decode_record(octets)


def _document() -> dict[str, Any]:
    envelope = Envelope(UUID(int=7), 1.5, "", ("a@b.c",), Body(0, b"\0" * 32, False))
    document: dict[str, Any] = json.loads(encode_record(envelope, b""))
    return document


def _octets(document: Any) -> bytes:
    return json.dumps(document).encode() + b"\n"


def test_fields_of_a_later_release_are_ignored_and_missing_ones_have_defaults() -> None:
    document = _document() | {"new": [1]}
    for late in ("helo", "ip", "with", "role", "utf8"):
        del document[late]
    read = decode_record(_octets(document)).envelope
    assert (read.helo, read.protocol, read.role, read.smtputf8) == ("", "ESMTP", "mx", False)


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"id": "no uuid"},
        {"id": 7},
        {"at": "soon"},
        {"to": 3},
        {"size": "many"},
        {"size": 1},
        {"sha256": "xyz"},
        {"sha256": None},
        {"rp": None},
        {"at": 10**400},
        {"size": float("inf")},
    ],
)
def test_a_broken_field_does_not_read(change: dict[str, Any]) -> None:
    decode_record(_octets(_document()))
    with pytest.raises(RecordError):
        decode_record(_octets(_document() | change))


@pytest.mark.parametrize(
    "field", ["v", "id", "at", "from", "to", "size", "sha256", "dots", "rp", "blob"]
)
def test_a_record_without_a_needed_field_does_not_read(field: str) -> None:
    document = _document()
    del document[field]
    with pytest.raises(RecordError):
        decode_record(_octets(document))


@pytest.mark.parametrize(
    "line", [b"[]\n", b"null\n", b"7\n", b'"x"\n', b"[" * 100_000 + b"\n", b"\n", b"{}\n"]
)
def test_a_first_line_that_is_no_envelope_does_not_read(line: bytes) -> None:
    with pytest.raises(RecordError):
        decode_record(line)


def test_a_record_carries_either_a_body_or_the_key_of_its_blob() -> None:
    facts = Body(1, b"\0" * 32, False)
    identity = UUID(int=7)
    with pytest.raises(ValueError, match="either"):
        encode_record(Envelope(identity, 0, "", (), facts), None)
    with pytest.raises(ValueError, match="either"):
        encode_record(Envelope(identity, 0, "", (), facts, blob="bodies/7"), b"x")
