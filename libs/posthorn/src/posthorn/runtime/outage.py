"""An outage in the log: one line when it begins, and one when it is over."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

import structlog

log = structlog.get_logger()

MOST_UNANSWERED = 5
"""Names that are not answered, with none answered meanwhile, of which a resolver is taken to fail:
that of one zone may fail for ever."""


@dataclass(slots=True)
class Outage:
    """Something that may cease to work. ``began`` and ``ended`` are the events that are logged."""

    began: str
    ended: str
    level: Literal["warning", "error"] = "warning"
    """Of the line when it begins."""
    is_on: bool = field(default=False, init=False)
    _since: float = field(default=0.0, init=False)

    def begin(self, **about: object) -> bool:
        """Note that it does not work; return whether that is news."""
        if self.is_on:
            return False
        self.is_on, self._since = True, time.monotonic()
        getattr(log, self.level)(self.began, **about)
        return True

    def end(self, **about: object) -> bool:
        """Note that it works; return whether that is news."""
        if not self.is_on:
            return False
        self.is_on = False
        log.info(self.ended, seconds=round(time.monotonic() - self._since), **about)
        return True


class LookupWatch:
    """Names whose look-ups failed since one was answered: of several, the log says that none can be
    looked up."""

    def __init__(self, outage: Outage) -> None:
        self._outage = outage
        self._failed: set[object] = set()

    def failed(self, name: object, reason: str) -> bool:
        """Note that a look-up failed; return whether the outage begins."""
        if self._outage.is_on:
            return False
        self._failed.add(name)
        return len(self._failed) >= MOST_UNANSWERED and self._outage.begin(
            names=MOST_UNANSWERED, detail=reason
        )

    def answered(self) -> bool:
        """Note an answer; return whether the outage ends."""
        self._failed.clear()
        return self._outage.end()
