"""How a command ends: the tagged reply, and what may precede it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """A command that succeeded: the tagged OK."""

    words: str
    code: bytes = b""
    """Response code without its brackets."""
    tells_expunges: bool = True
    """Whether messages may lose their numbers before the reply: not after FETCH, STORE and SEARCH
    by number (RFC 9051 §7.5.1)."""
    syncs: bool = True
    """Whether the store is asked what changed in the selected mailbox, to tell it before the reply.
    False: only if a hint said that something did (what is known already is told all the same)."""


class No(Exception):
    """The command failed: NO. What it sent untagged stands."""

    def __init__(self, words: str, code: bytes = b"") -> None:
        super().__init__(words)
        self.words = words
        self.code = code
        """Response code without its brackets, such as ``b"TRYCREATE"``."""


class Bad(Exception):
    """The command is not valid: BAD."""


class Drop(Exception):
    """The connection must end, since it is not known what was changed; the text is sent with
    BYE."""


type Handler = Callable[[Any, Any], Awaitable[Answer | None]]
"""Called with the session and the command or event (``handlers``)."""
