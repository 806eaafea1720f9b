"""Encoded words are found as RFC 2047 says, in time that grows with the text alone."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.message.encoded_words import encoded_words

REFERENCE = re.compile(r"=\?([^?\s]{1,80})\?([BbQq])\?(.*?)\?=")
"""The same in one expression, which is quadratic in words without an end."""


class Counted(str):
    """A text that counts the characters that ``find`` looks at."""

    steps = 0

    def find(self, wanted: str, start: int = 0) -> int:  # type: ignore[override]
        found = super().find(wanted, start)
        self.steps += (len(self) if found < 0 else found) - start
        return found


@given(
    st.lists(
        st.sampled_from(["=", "?", "q", "B", "a", " ", "\n", "=?a?q?", "?=", "=?utf-8?B?", "é"])
    ).map("".join)
)
def test_the_words_are_those_of_the_grammar(text: str) -> None:
    expected = [(found.start(), found.end(), *found.groups()) for found in REFERENCE.finditer(text)]
    assert [tuple(word) for word in encoded_words(text)] == expected


@pytest.mark.parametrize("end", ["", "?", "\n?=", "\n=?a?q?b?="])
def test_words_without_an_end_cost_one_pass(end: str) -> None:
    text = Counted("=?a?q? " * 100_000 + end)
    words = list(encoded_words(text))
    assert [word.content for word in words] == (["b"] if end.endswith("b?=") else [])
    assert text.steps <= 2 * len(text)
