"""Encoded words (RFC 2047 section 2) in a text, found in linear time.

A word ends at the first ``?=`` on its line. The places of the next end and of the next line break
are kept while the text is searched, so that any number of words without an end cost one pass:
senders choose the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_START = re.compile(r"=\?([^?\s]{1,80})\?([BbQq])\?")


class EncodedWord(NamedTuple):
    """One encoded word and where it stands in the text."""

    start: int
    end: int
    charset: str
    encoding: str
    """``B`` or ``Q``, in either case."""
    content: str
    """The encoded text, as written."""


def encoded_words(text: str) -> Iterator[EncodedWord]:
    """Return the encoded words of a text, first to last."""
    at, close, line_end = 0, -1, -1
    while (found := _START.search(text, at)) is not None:
        if close < found.end():
            close = text.find("?=", found.end())
            if close < 0:
                return
        if line_end < found.end():
            line_end = text.find("\n", found.end())
            if line_end < 0:
                line_end = len(text)
        if close > line_end:
            at = found.start() + 1
        else:
            at = close + 2
            yield EncodedWord(found.start(), at, found[1], found[2], text[found.end() : close])
