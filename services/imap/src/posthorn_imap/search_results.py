"""What SEARCH and SORT answer of the messages found (RFC 9051 §6.4.4 and §7.3.4, RFC 5182,
RFC 5267, RFC 7162 §3.1.5, RFC 9394).

Rules:

- Without RETURN the answer is SEARCH or SORT; of SEARCH in rev2 it is ESEARCH with ALL
  (codefuturist/email-mcp#71).
- SAVE keeps what is returned of MIN, MAX and PARTIAL, and everything where ALL or COUNT, or nothing
  else, is asked for (RFC 5182 §2.1). SAVE alone sends nothing.
- MIN and MAX of SORT are the first and the last in its order.
- Long answers are made and sent in pieces.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import batched
from typing import TYPE_CHECKING

from posthorn.wire.imap import replies
from posthorn.wire.imap.commands import Partial, Search, Sort
from posthorn.wire.imap.sequence_set import Range, ranges_of
from posthorn_imap.pacing import Pace

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession

_SLICE = 10_000
_SEND_BYTES = 64 * 1024


def enough(command: Search, *, modseq: bool) -> tuple[int | None, int | None]:
    """Return how many of the messages with the lowest, and of those with the highest UIDs are
    enough to answer; None, None: all are needed. ``modseq``: whether the answer has MODSEQ."""
    asked = (command.returns or frozenset()) - {"SAVE"}
    partial = command.partial
    if command.returns is None or modseq or asked & {"ALL", "COUNT"}:
        return None, None
    if asked == {"MIN"} and partial is None:
        return 1, None
    if asked == {"MAX"} and partial is None:
        return None, 1
    if partial is not None and partial.first > 0 and asked <= {"MIN"}:
        return partial.last, None
    if partial is not None and partial.first < 0 and asked <= {"MAX"}:
        return None, -partial.last
    return None, None


async def send(
    session: ImapSession,
    command: Search | Sort,
    found: Sequence[int],
    pace: Pace,
    *,
    modseq: bool,
) -> None:
    """Send the answer, and keep what SAVE keeps. ``found``: UIDs in the order of the answer."""
    returns = command.returns
    is_sort = isinstance(command, Sort)
    if returns is None and session.is_rev2 and not is_sort:
        returns = frozenset({"ALL"})
    if returns is None:
        highest = await _highest_modseq(session, found, pace) if modseq else None
        numbers = await _numbers(
            session, found, pace, by_uid=command.by_uid, is_ascending=not is_sort
        )
        await _send_numbers(session, numbers, highest, pace, name="SORT" if is_sort else "SEARCH")
        return
    if "SAVE" in returns:
        session.mailbox.saved = array("I", sorted(_saved(returns, command.partial, found)))
    if not (returns - {"SAVE"}) and command.partial is None:
        return
    await _send_esearch(session, command, returns, found, pace, modseq=modseq)


async def _send_numbers(
    session: ImapSession, numbers: Sequence[int], modseq: int | None, pace: Pace, *, name: str
) -> None:
    unsent = 0
    for piece in replies.search_pieces(numbers, command=name, modseq=modseq):
        session.out.send(piece)
        unsent += len(piece)
        if unsent >= _SEND_BYTES:
            unsent = 0
            await session.out.room()
            await pace.turn()


async def _send_esearch(
    session: ImapSession,
    command: Search | Sort,
    returns: frozenset[str],
    found: Sequence[int],
    pace: Pace,
    *,
    modseq: bool,
) -> None:
    by_uid = command.by_uid
    partial = None
    if command.partial is not None:
        some = await _numbers(session, _part(found, command.partial), pace, by_uid=by_uid)
        partial = command.partial.first, command.partial.last, ranges_of(some)
    ends = await _numbers(session, [found[0], found[-1]] if found else [], pace, by_uid=by_uid)
    all_ = None
    if "ALL" in returns:
        ascends = isinstance(command, Search)
        numbers = await _numbers(session, found, pace, by_uid=by_uid, is_ascending=ascends)
        all_ = await _ranges(numbers, pace)
    highest = None
    if modseq and found:
        is_about_ends = not returns & {"ALL", "COUNT"} and command.partial is None
        about = [found[place] for name, place in (("MIN", 0), ("MAX", -1)) if name in returns]
        highest = await _highest_modseq(session, about if is_about_ends else found, pace)
    session.out.send(
        replies.esearch(
            session.tag,
            by_uid=by_uid,
            least=ends[0] if ends and "MIN" in returns else None,
            greatest=ends[1] if ends and "MAX" in returns else None,
            count=len(found) if "COUNT" in returns else None,
            all_=all_,
            partial=partial,
            modseq=highest,
        )
    )
    await session.out.room()


def _part(found: Sequence[int], partial: Partial) -> Sequence[int]:
    if partial.first > 0:
        return found[partial.first - 1 : partial.last]
    count = len(found)
    return found[max(count + partial.last, 0) : max(count + partial.first + 1, 0)]


def _saved(
    returns: frozenset[str], partial: Partial | None, found: Sequence[int]
) -> Sequence[int] | set[int]:
    asked = returns - {"SAVE"}
    if not found or asked & {"ALL", "COUNT"} or (not asked and partial is None):
        return found
    kept = set(_part(found, partial)) if partial is not None else set()
    if "MIN" in asked:
        kept.add(found[0])
    if "MAX" in asked:
        kept.add(found[-1])
    return kept


async def _numbers(
    session: ImapSession,
    found: Sequence[int],
    pace: Pace,
    *,
    by_uid: bool,
    is_ascending: bool = False,
) -> Sequence[int]:
    """Return the numbers of messages, or their UIDs; ``is_ascending``: whether they are."""
    numbering = session.mailbox.numbering
    if by_uid:
        return found
    if len(found) == len(numbering) and found == numbering.uids:
        return range(1, len(found) + 1)
    numbers = array("I")
    if is_ascending and len(found) * 4 > len(numbering):
        wanted = frozenset(found)
        for at in range(0, len(numbering), _SLICE):
            there = numbering.uids[at : at + _SLICE]
            numbers.extend([at + place for place, uid in enumerate(there, 1) if uid in wanted])
            await pace.turn()
        return numbers
    for some in batched(found, _SLICE, strict=False):
        numbers.extend(map(numbering.number, some))
        await pace.turn()
    return numbers


async def _ranges(numbers: Sequence[int], pace: Pace) -> list[Range]:
    if isinstance(numbers, range):
        return [(numbers[0], numbers[-1])] if numbers else []
    found: list[Range] = []
    for at in range(0, len(numbers), _SLICE):
        some = ranges_of(numbers[at : at + _SLICE])
        if found and some and found[-1][1] + 1 == some[0][0]:
            some[0] = (found.pop()[0], some[0][1])
        found += some
        await pace.turn()
    return found


async def _highest_modseq(session: ImapSession, found: Sequence[int], pace: Pace) -> int | None:
    selected = session.mailbox
    highest = 0
    for some in batched(sorted(found), selected.page, strict=False):
        entries = await session.backend.view.flags(
            selected.account, selected.mailbox, ranges_of(some), changed_since=highest
        )
        highest = max([highest, *(entry.modseq for entry in entries)])
        await pace.turn()
    return highest or None
