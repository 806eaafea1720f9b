"""The directory's keys and entries: there and back, and nothing else reads."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.model.directory_entry import (
    FILLED_KEY,
    AddressEntry,
    DomainEntry,
    Entry,
    EntryError,
    RecipientStatus,
    decode_entry,
    decode_key,
    encode_entry,
    encode_key,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80)
DOMAINS = TEXT.map(lambda text: text.replace("@", "") or "x")
SUBJECTS = st.builds(
    lambda local, domain: f"{local}@{domain}", st.one_of(st.just(""), TEXT), DOMAINS
)
ENTRIES: st.SearchStrategy[Entry] = st.one_of(
    st.builds(DomainEntry, st.one_of(st.none(), TEXT), st.booleans(), st.one_of(st.none(), TEXT)),
    st.builds(AddressEntry, st.sampled_from(RecipientStatus)),
)


@given(SUBJECTS)
def test_a_subject_comes_back_from_its_key_and_the_key_is_one_that_nats_takes(subject: str) -> None:
    key = encode_key(subject)
    assert decode_key(key) == subject
    assert re.fullmatch(r"[-/_=a-zA-Z0-9]+(\.[-/_=a-zA-Z0-9]+)+", key)


@given(SUBJECTS, SUBJECTS)
def test_different_subjects_have_different_keys(one: str, other: str) -> None:
    assert (encode_key(one) == encode_key(other)) == (one == other)


@pytest.mark.parametrize(
    "subject",
    [
        "alice@example.com",
        "@example.com",
        '"a b"@example.com',
        '"a@b"@example.com',
        '"a..b."@example.com',
        "grüße@xn--mnchen-3ya.de",
        "@[IPv6:2001:db8::1]",
        "a=2Eb@example.com",
        "x" * 64 + "@" + "y" * 180 + ".com",
    ],
)
def test_awkward_subjects_come_back(subject: str) -> None:
    assert decode_key(encode_key(subject)) == subject


def test_keys_of_a_domain_and_its_addresses_are_told_apart_by_prefix() -> None:
    assert encode_key("@example.com") == "d.example=2Ecom"
    assert encode_key("alice@example.com") == "a.example=2Ecom.alice"


@pytest.mark.parametrize("subject", ["", "alice", "alice@", "@", "\ud800@example.com"])
def test_what_is_no_subject_has_no_key(subject: str) -> None:
    with pytest.raises(EntryError):
        encode_key(subject)


@pytest.mark.parametrize(
    "key",
    [
        FILLED_KEY,
        "",
        "d",
        "d.",
        "a.x",
        "a..x",
        "b.x",
        "a.x.y.z",
        "d.=2e",
        "d.=FF",
        "d.=61",
        "d.a b",
        "d.é",
    ],
)
def test_foreign_keys_do_not_read(key: str) -> None:
    with pytest.raises(EntryError):
        decode_key(key)


@given(ENTRIES)
def test_an_entry_comes_back(entry: Entry) -> None:
    assert decode_entry(encode_entry(entry)) == entry


def test_fields_of_a_later_release_are_ignored() -> None:
    assert decode_entry(b'{"kind":"address","standing":"suspended","since":1}') == AddressEntry(
        RecipientStatus.SUSPENDED
    )


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"null",
        b"{}",
        b"[]",
        b"\xff",
        b'{"kind":"thing"}',
        b'{"kind":"address"}',
        b'{"kind":"address","standing":"new"}',
        b'{"kind":"domain","catch_all":1,"plus":true}',
        b'{"kind":"domain","catch_all":null,"plus":"yes"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_entry_does_not_read(octets: bytes) -> None:
    with pytest.raises(EntryError):
        decode_entry(octets)


@given(st.binary(max_size=200))
def test_no_octets_break_the_reader(octets: bytes) -> None:
    with suppress(EntryError):
        decode_entry(octets)
