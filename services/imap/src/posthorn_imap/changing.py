"""What commands that change a mailbox have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from posthorn.ports.errors import Unavailable
from posthorn.ports.mailbox_view import (
    MOST_KEYWORD_BYTES,
    MOST_KEYWORDS,
    NoRoom,
    NoUids,
    TooManyKeywords,
)
from posthorn_imap.answering import Drop, No

if TYPE_CHECKING:
    from posthorn_imap.selected import Selected
    from posthorn_imap.session import ImapSession

log = structlog.get_logger()


@contextmanager
def outcome_known(*, has_changed: bool = False) -> Iterator[None]:
    """Raise Drop where a change fails with an outcome that is not known, and No or Unavailable where
    nothing was changed. ``has_changed``: the command has made other changes, which would be made
    again."""
    try:
        yield
    except Unavailable as error:
        if error.nothing_changed and not has_changed:
            raise
        log.warning("outcome of a change not known", fault=error)
        raise Drop("the mailbox cannot be reached at this moment") from None
    except NoRoom:
        raise No("the account has reached its quota", b"OVERQUOTA") from None
    except NoUids:
        raise No("the mailbox has no UIDs left, use another one", b"LIMIT") from None
    except TooManyKeywords:
        words = f"a mailbox has at most {MOST_KEYWORDS} keywords of {MOST_KEYWORD_BYTES} bytes"
        raise No(words, b"LIMIT") from None


def writable(session: ImapSession) -> Selected:
    """Return the selected mailbox. Raises No where it was selected for reading alone."""
    selected = session.mailbox
    if selected.read_only:
        raise No("the mailbox is selected for reading", b"READ-ONLY")
    return selected


async def announce(session: ImapSession, selected: Selected, modseq: int) -> None:
    """Tell all processes that a command of this connection has changed its mailbox."""
    selected.changed_to(modseq)
    await session.backend.hints.send([(selected.account, selected.mailbox, modseq)])
