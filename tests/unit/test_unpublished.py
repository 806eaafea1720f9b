"""The mark that names what the directory is behind with."""

from __future__ import annotations

import pytest

from posthorn.model.directory_entry import BEHIND_KEY, EntryError, decode_key
from posthorn.model.unpublished import (
    EVERYTHING,
    MOST_NAMED,
    MOST_OF_DOMAIN,
    NOTHING,
    Unpublished,
    decode_unpublished,
    encode_unpublished,
    of_subjects,
)


def test_it_covers_what_it_names_and_nothing_else() -> None:
    some = of_subjects(["alice@a.test", "@b.test"], ["c.test"])
    assert [some.covers(each) for each in ("alice@a.test", "@b.test", "@c.test", "any@c.test")] == [
        True
    ] * 4
    assert [
        some.covers(each) for each in ("bob@a.test", "@a.test", "any@b.test", "@else.test")
    ] == [False] * 4
    assert EVERYTHING.covers("any@where.test")
    assert not NOTHING.covers("any@where.test")
    assert (bool(some), bool(EVERYTHING), bool(NOTHING)) == (True, True, False)


def test_many_of_a_domain_become_the_domain_and_many_domains_everything() -> None:
    few = [f"u{number}@a.test" for number in range(MOST_OF_DOMAIN)]
    assert of_subjects(few).subjects == frozenset(few)
    assert of_subjects([*few, "one@a.test", "@b.test"]) == Unpublished(
        frozenset({"@b.test"}), frozenset({"a.test"})
    )
    domains = [f"d{number}.test" for number in range(MOST_NAMED + 1)]
    assert of_subjects((), domains[1:]) == Unpublished(domains=frozenset(domains[1:]))
    assert of_subjects((), domains) == of_subjects(f"@{name}" for name in domains) == EVERYTHING
    several = of_subjects(f"u{number}@{name}" for name in domains[:100] for number in range(3))
    assert several == Unpublished(domains=frozenset(domains[:100]))


def test_marks_are_joined() -> None:
    assert of_subjects(["a@a.test"]).joined(of_subjects(["b@a.test"], ["b.test"])) == of_subjects(
        ["a@a.test", "b@a.test"], ["b.test"]
    )
    assert EVERYTHING.joined(NOTHING) == NOTHING.joined(EVERYTHING) == EVERYTHING


@pytest.mark.parametrize(
    "mark", [NOTHING, EVERYTHING, of_subjects(["ü+x@a.test", "@b.test"], ["c.test"])]
)
def test_it_reads_as_it_was_written(mark: Unpublished) -> None:
    assert decode_unpublished(encode_unpublished(mark)) == mark


@pytest.mark.parametrize(
    "octets", [b"", b"{}", b"[]", b'{"all":false,"domains":[1],"subjects":[]}', b"\xff"]
)
def test_a_mark_that_does_not_read_covers_everything(octets: bytes) -> None:
    assert decode_unpublished(octets) == EVERYTHING


def test_its_key_is_no_subjects() -> None:
    with pytest.raises(EntryError):
        decode_key(BEHIND_KEY)
