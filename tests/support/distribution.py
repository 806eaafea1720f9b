"""Which tests pytest-xdist gives to one worker: those of a file, and all of a folder whose tests
start whole systems.

Such a system is a dozen processes. Three of them on two cores are slow enough to overrun limits,
and a worker that gets some files of such a folder starts a shared system of its own.
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadFileScheduling

_ONE_WORKER = ("tests/e2e/", "tests/chaos/")


class LoadFolders(LoadFileScheduling):  # type: ignore[misc]
    """Files as ``--dist loadfile`` gives them out, but these folders whole."""

    def _split_scope(self, nodeid: str) -> str:
        return _folder(nodeid) or super()._split_scope(nodeid)


def _folder(nodeid: str) -> str | None:
    return next((each for each in _ONE_WORKER if nodeid.startswith(each)), None)


def longest_first(items: list[pytest.Item]) -> None:
    """Put these folders first: what is begun last should be short. In each, files that use its
    shared system come last, so that this does not run beside systems of other files: even at rest
    it takes a tenth of a core."""
    sharing = {item.path for item in items if "system" in getattr(item, "fixturenames", ())}

    def place(item: pytest.Item) -> tuple[int, bool]:
        folder = _folder(item.nodeid)
        if folder is None:
            return len(_ONE_WORKER), False
        return _ONE_WORKER.index(folder), item.path in sharing

    items.sort(key=place)
