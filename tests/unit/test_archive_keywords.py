"""Keywords in an archive."""

from __future__ import annotations

import pytest

from posthorn.wire.archive.keywords import MOST_KEYWORDS, keywords_of
from posthorn.wire.archive.tar import END, TarReader, file_header, padding


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("$Forwarded Red  red", ("$Forwarded", "Red")),
        ("\\Seen a(b ä 50% x]", ()),
        ("k" * 255 + " " + "k" * 256, ("k" * 255,)),
        (" ".join(map(str, range(99))), tuple(map(str, range(MOST_KEYWORDS)))),
    ],
)
def test_what_is_a_keyword(text: str, expected: tuple[str, ...]) -> None:
    assert keywords_of(text) == expected


def test_keywords_are_those_of_their_file_alone() -> None:
    archive = b"".join(
        file_header(path, 1, 0, keywords) + b"x" + padding(1)
        for path, keywords in (("a", ["Red", "ok"]), ("b", []), ("ä" * 200, ["x"]))
    )
    found = TarReader(10).feed(archive + END)
    assert [(file.path[0], file.keywords) for file in found] == [
        ("a", "Red ok"),
        ("b", ""),
        ("ä", "x"),
    ]
