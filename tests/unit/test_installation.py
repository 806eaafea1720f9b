"""The decision table of ADR 18, walked whole: which stores belong together."""

from __future__ import annotations

import itertools
from uuid import UUID

import pytest

from posthorn.model.directory_entry import MARK_KEYS, encode_key
from posthorn.model.installation import (
    MARK_BYTES,
    Copy,
    Finding,
    Mark,
    Ours,
    Stage,
    decode_mark,
    encode_mark,
    judge,
)

OWN, OTHER = UUID(int=1), UUID(int=2)
NOW = 1_800_000_000.0
STORES = {
    "down": None,
    "empty": Copy(None, holds_data=False),
    "data": Copy(None, holds_data=True),
    "own": Copy(Mark(OWN, NOW - 60), holds_data=True),
    "a little ahead": Copy(Mark(OWN, NOW + 900), holds_data=True),
    "ahead": Copy(Mark(OWN, NOW + 901), holds_data=True),
    "other": Copy(Mark(OTHER, NOW - 1e6), holds_data=True),
}
DATABASES = {
    (stage, content): Ours(
        Mark(OWN, NOW), stage, holds_data=content != "nothing", holds_bodies=content == "bodies"
    )
    for stage in Stage
    for content in ("nothing", "accounts", "bodies")
}
GOOD = ("own", "a little ahead")
BARE = ("empty", "data")


def _expected(stage: Stage, content: str, blobs: str, directory: str) -> Finding:
    """The table of ADR 18, row by row."""
    if {"other", "ahead"} & {blobs, directory}:
        return Finding.FOREIGN
    match stage:
        case Stage.ADOPTED:
            if blobs == "data" or (blobs == "empty" and content == "bodies"):
                return Finding.FOREIGN
            return Finding.OURS
        case Stage.ADOPTING:
            return Finding.OURS if "down" in (blobs, directory) else Finding.ADOPT
        case Stage.NEW:
            if content == "nothing":
                if blobs not in ("down", "empty") or directory not in ("down", "empty"):
                    return Finding.FOREIGN
                if blobs == "down":
                    return Finding.UNDECIDED
            if content == "bodies" and blobs == "empty":
                return Finding.FOREIGN
            return Finding.OURS if "down" in (blobs, directory) else Finding.ADOPT


@pytest.mark.parametrize("blobs", STORES)
@pytest.mark.parametrize("directory", STORES)
def test_every_combination_is_judged_as_the_table_says(blobs: str, directory: str) -> None:
    for (stage, content), ours in DATABASES.items():
        verdict = judge(ours, STORES[blobs], STORES[directory])
        assert verdict.finding is _expected(stage, content, blobs, directory), (
            stage,
            content,
            verdict,
        )
        assert verdict.complete == (
            verdict.finding is not Finding.UNDECIDED and "down" not in (blobs, directory)
        ), (
            stage,
            content,
        )
        assert bool(verdict.reason) == (verdict.finding in (Finding.FOREIGN, Finding.UNDECIDED))


def test_what_must_never_be_served() -> None:
    empty = DATABASES[Stage.NEW, "nothing"]
    for blobs, directory in itertools.product(STORES, STORES):
        if blobs not in ("empty", "down") or directory not in ("empty", "down"):
            assert judge(empty, STORES[blobs], STORES[directory]).finding is Finding.FOREIGN, (
                "an empty Postgres"
            )
    for stage, content in DATABASES:
        for other in STORES:
            for pair in (("other", other), (other, "other"), ("ahead", other), (other, "ahead")):
                verdict = judge(DATABASES[stage, content], STORES[pair[0]], STORES[pair[1]])
                assert verdict.finding is Finding.FOREIGN


def test_what_must_go_on_by_itself() -> None:
    lived_in = DATABASES[Stage.ADOPTED, "bodies"]
    for good, bare in itertools.product(GOOD, BARE):
        assert judge(lived_in, STORES[good], STORES[bare]).finding is Finding.OURS, (
            "a directory bucket lost and made anew"
        )
    for blobs, directory in itertools.product((*GOOD, "down"), (*GOOD, "down")):
        assert judge(lived_in, STORES[blobs], STORES[directory]).finding is Finding.OURS, (
            "a part that is down"
        )
    upgraded = DATABASES[Stage.NEW, "bodies"]
    for directory in BARE:
        assert judge(upgraded, STORES["data"], STORES[directory]).finding is Finding.ADOPT, (
            "a release without marks"
        )
    assert (
        judge(DATABASES[Stage.NEW, "nothing"], STORES["empty"], STORES["empty"]).finding
        is Finding.ADOPT
    ), "all new"


def test_the_tolerance_is_what_is_given() -> None:
    ours = DATABASES[Stage.ADOPTED, "bodies"]
    late = Copy(Mark(OWN, NOW + 100), holds_data=True)
    assert judge(ours, late, late, 100).finding is Finding.OURS
    assert judge(ours, late, late, 99).finding is Finding.FOREIGN


def test_a_reason_names_the_store_and_both_sides() -> None:
    reason = judge(DATABASES[Stage.ADOPTED, "bodies"], STORES["own"], STORES["other"]).reason
    assert "directory bucket" in reason
    assert str(OWN) in reason
    assert str(OTHER) in reason
    assert "2027-01-15" in judge(DATABASES[Stage.ADOPTED, "bodies"], STORES["ahead"], None).reason


def test_a_mark_comes_back_and_has_one_size() -> None:
    for progress in (0.0, NOW, NOW + 0.123456):
        octets = encode_mark(Mark(OWN, progress))
        assert len(octets) == MARK_BYTES
        assert decode_mark(octets) == Mark(OWN, progress)


@pytest.mark.parametrize(
    "octets",
    [b"", b"{}", b"[]", b"null", b"\xff", b'{"installation": "x", "progress": 1}', b'{"installation": 5, "progress": 1}',
     b'{"installation": "00000000-0000-0000-0000-000000000001", "progress": 1e300}', b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_mark_is_refused(octets: bytes) -> None:
    with pytest.raises(ValueError, match="not a mark"):
        decode_mark(octets)


def test_keys_of_marks_meet_no_key_of_a_subject() -> None:
    for mark in MARK_KEYS:
        assert "." not in mark
    for subject in ("@installation", "halted@example.test", "@halted", "filled@filled"):
        assert encode_key(subject) not in MARK_KEYS
