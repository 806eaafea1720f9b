"""Tokens and the Bayes filter: what is learned, undone, forgotten, and how many points follow."""

from __future__ import annotations

import contextlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.spam import bayes
from posthorn.wire.spam.bayes import (
    EMPTY,
    BayesError,
    BayesModel,
    Lesson,
    bayes_points,
    decode_model,
    encode_model,
    spamminess,
)
from posthorn.wire.spam.facts import read_facts
from posthorn.wire.spam.tokens import (
    MOST_TOKENS,
    TokensError,
    decode_tokens,
    encode_tokens,
    tokens_of,
)
from tests.support.spam import message, with_file

SPAM = tuple(range(100, 120))
HAM = tuple(range(200, 220))
SHARED = tuple(range(300, 320))


def _taught(spam: int, ham: int) -> BayesModel:
    lessons = [Lesson((*SPAM, *SHARED), is_spam=True)] * spam
    return EMPTY.taught([*lessons, *[Lesson((*HAM, *SHARED), is_spam=False)] * ham])


def test_tokens_are_the_same_in_every_release() -> None:
    facts = read_facts(message("Buy cheap https://www.shop.test/offer", html=False))
    tokens = tokens_of(facts)
    assert list(tokens) == sorted(set(tokens))
    # if this changes, VERSION must
    assert (len(tokens), sum(tokens) % 2**64) == (26, 8671898769881923208)
    assert tokens_of(read_facts(message("Buy CHEAP  https://www.shop.test/offer"))) == tokens


def test_tokens_of_every_part_count() -> None:
    base = set(tokens_of(read_facts(message("some words"))))
    for other in (
        message("some words here"),
        message("some words", {"Subject": "Another one"}),
        message("some words", {"From": "ann@other.test"}),
        message("some words http://a.test/"),
        message("some words", html=True),
        message("\u6f22\u5b57\u6f22 words some"),
        with_file("x.exe", b"x"),
    ):
        assert set(tokens_of(read_facts(other))) - base


def test_tokens_are_bounded() -> None:
    text = " ".join(f"word{place}" for place in range(5000))
    assert len(tokens_of(read_facts(message(text)))) == MOST_TOKENS
    long = "x" * 100_000 + " " + "\u6f22" * 50_000
    assert len(tokens_of(read_facts(message(long)))) < 100


def test_tokens_as_bytes() -> None:
    assert decode_tokens(encode_tokens((1, 2**64 - 1))) == (1, 2**64 - 1)
    assert decode_tokens(encode_tokens(())) == ()
    for octets in (b"", b"\x00", encode_tokens((1,))[:-1], b"\x02" + bytes(8)):
        with pytest.raises(TokensError):
            decode_tokens(octets)


def test_spam_ham_and_doubt() -> None:
    model = _taught(60, 60)
    assert spamminess(SPAM, model) > 0.99
    assert spamminess(HAM, model) < 0.01
    assert spamminess(SHARED, model) == 0.5
    assert spamminess((1, 2, 3), model) == 0.5
    assert spamminess((*SPAM, *HAM), model) == pytest.approx(0.5)
    assert spamminess((), EMPTY) == 0.5


@pytest.mark.parametrize(
    ("spam", "ham", "most"),
    [
        (0, 0, 0),
        (49, 500, 0),
        (50, 50, 2),
        (199, 3000, 2),
        (200, 200, 4),
        (200, 799, 4),
        (200, 800, 7),
    ],
)
def test_trap_16_points_grow_with_what_was_taught(spam: int, ham: int, most: float) -> None:
    model = BayesModel(spam, ham)
    assert model.most_points == most
    assert bayes_points(1.0, model) == most
    assert bayes_points(0.0, model) == -most
    assert bayes_points(0.6, model) == bayes_points(0.4, model) == 0
    assert abs(bayes_points(0.91, model)) <= most
    assert bayes_points(1.0, EMPTY, model) == most, "the tenant's counts"


def test_only_much_training_crosses_the_junk_threshold_alone() -> None:
    assert bayes_points(1.0, BayesModel(400, 599)) < 6 < bayes_points(0.999, BayesModel(400, 600))


def test_an_account_agrees_with_its_tenant_until_it_says_otherwise() -> None:
    tenant = _taught(100, 100)
    assert spamminess(SPAM, EMPTY, tenant) > 0.99
    contrary = EMPTY.taught([Lesson(SPAM, is_spam=False)] * 60 + [Lesson(HAM, is_spam=True)] * 60)
    assert spamminess(SPAM, contrary, tenant) < 0.01


def test_a_lesson_is_undone() -> None:
    model = _taught(10, 10)
    lesson = Lesson((1, 2, *SPAM), is_spam=True)
    assert model.taught([lesson]) != model
    assert model.taught([lesson]).taught([lesson._replace(is_undone=True)]) == model
    assert EMPTY.taught([lesson._replace(is_undone=True)]) == EMPTY, "never below zero"


def test_trap_17_tokens_seen_once_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bayes, "MOST_TOKENS", 100)
    model = EMPTY.taught([Lesson(range(50), is_spam=True)] * 2)
    model = model.taught([Lesson(range(1000, 1045), is_spam=True)])
    assert len(model.tokens) == 95
    model = model.taught([Lesson(range(2000, 2030), is_spam=False)])
    assert len(model.tokens) == 90
    assert all(model.counts(token) == (2, 0) for token in range(50)), "seen twice"
    assert all(model.counts(token) == (0, 1) for token in range(2000, 2030)), "taught just now"
    assert (model.spam, model.ham) == (3, 1)


def test_trap_17_a_model_is_bounded_whatever_it_is_taught() -> None:
    model = EMPTY.taught([Lesson(range(60_000), is_spam=True)] * 2)
    assert len(model.tokens) <= bayes.MOST_TOKENS == 50_000
    assert len(encode_model(model)) < 700_000


def test_counts_are_halved_before_they_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bayes, "_MOST_COUNT", 100)
    model = _taught(99, 40).taught([Lesson(SPAM, is_spam=True)])
    assert (model.spam, model.ham) == (50, 20)
    assert model.counts(SPAM[0]) == (50, 0) and model.counts(HAM[0]) == (0, 20)


def test_a_model_as_bytes() -> None:
    model = EMPTY.taught([Lesson(range(0, 2**64 - 1, 2**51), is_spam=True)])
    octets = encode_model(model)
    assert decode_model(octets) == model
    assert len(octets) == 13 + 12 * len(model.tokens)
    assert len(zlib.compress(octets)) < 0.8 * len(octets)
    assert decode_model(encode_model(EMPTY)) == EMPTY


def test_bytes_that_are_no_model() -> None:
    octets = encode_model(_taught(2, 2))
    count = octets[:9] + (2**32 - 1).to_bytes(4, "little") + octets[13:]
    swapped = octets[:13] + octets[21:29] + octets[13:21] + octets[29:]
    for wrong in (b"", octets[:-1], octets + b"\0", b"\x09" + octets[1:], count, swapped):
        with pytest.raises(BayesError):
            decode_model(wrong)


@given(st.binary(max_size=200))
def test_any_bytes(octets: bytes) -> None:
    with contextlib.suppress(BayesError):
        decode_model(octets)
    with contextlib.suppress(TokensError):
        decode_tokens(octets)


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 20), max_size=5), st.booleans(), st.booleans()),
        max_size=20,
    )
)
def test_any_lessons_keep_a_model_whole(lessons: list[tuple[list[int], bool, bool]]) -> None:
    model = EMPTY.taught(Lesson(*each) for each in lessons)
    assert decode_model(encode_model(model)) == model
    assert 0.0 <= spamminess(range(21), model) <= 1.0
