"""The pictures of the console: each that is taken is shown, and they stay small."""

from __future__ import annotations

import re
from pathlib import Path

from tests.console.screenshots import MAIN, OWN, SHOWN

_MOST_BYTES = 4 * 1024 * 1024


def test_each_picture_is_shown_with_its_text() -> None:
    page = (SHOWN / "index.md").read_text()
    shown = dict(re.findall(r"!\[([^\]]+)\]\((\w+)\.png\)", page))
    assert sorted(shown.values()) == sorted([*MAIN, OWN])
    assert all(len(text) > 20 for text in shown)
    assert sorted(path.stem for path in SHOWN.glob("*.png")) == sorted([*MAIN, OWN])


def test_the_pictures_are_small() -> None:
    assert sum(path.stat().st_size for path in Path(SHOWN).glob("*.png")) < _MOST_BYTES
