"""What changed in the selected mailbox, learned from the store and told to the client.

Rules:

- Told in this order: removals, then EXISTS, then flags (RFC 9051 §7.5.1, imap.md traps).
- With CONDSTORE each FETCH has MODSEQ, with QRESYNC also UID.
- History that is not known is replaced by a comparison with what is there; flags that changed
  meanwhile are told first, page by page as they are read, so that any number of them takes little
  memory.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from posthorn.ports.mailbox_view import PAGE, Changes, EntryFlags
from posthorn.wire.imap import fetch_replies, replies
from posthorn.wire.imap.sequence_set import ranges_of
from posthorn_imap.flags import flags_form, permanent_flags

if TYPE_CHECKING:
    from posthorn_imap.selected import Selected
    from posthorn_imap.session import ImapSession


async def sync(session: ImapSession, *, expunges: bool) -> None:
    """Learn what changed, and tell it. Raises Unavailable, MailboxGone."""
    await learn(session)
    tell(session, expunges=expunges)


async def learn(session: ImapSession) -> None:
    """Learn what changed since the last time. Raises Unavailable, MailboxGone."""
    selected = session.mailbox
    view = session.backend.view
    heard, selected.heard_modseq = selected.heard_modseq, selected.modseq
    try:
        changes = await view.changes(selected.account, selected.mailbox, selected.modseq)
        if changes is None:
            changes = await _compare(session, selected)
    except BaseException:
        selected.heard_modseq = heard
        raise
    selected.learn(changes)


def tell(session: ImapSession, *, expunges: bool) -> None:
    """Tell what was learned."""
    selected = session.mailbox
    out = session.out
    told = selected.numbering.tell(expunges=expunges)
    out.send(told.format(qresync=session.qresync))
    if told.count is not None and not session.is_rev2:
        out.send(replies.recent(0))
    if not selected.pending:
        return
    pending, selected.pending = selected.pending, {}
    if session.notify is not None and not session.notify.tells_flags:
        return
    tell_new_keywords(session, selected, pending.values())
    for uid, entry in pending.items():
        if number := selected.numbering.number(uid):
            out.send(flags_reply(session, number, entry))


def tell_new_keywords(
    session: ImapSession, selected: Selected, entries: Iterable[EntryFlags]
) -> None:
    """Tell the flags that messages may have, if these have new keywords."""
    new = [word for entry in entries for word in entry.keywords if word not in selected.keywords]
    if new:
        tell_keywords(session, selected, dict.fromkeys([*selected.keywords, *new]))


def tell_keywords(session: ImapSession, selected: Selected, keywords: dict[str, None]) -> None:
    """Tell the flags that messages may have, since a keyword is new."""
    selected.keywords = tuple(keywords)
    names = permanent_flags(selected.keywords)
    session.out.send(b"* FLAGS " + replies.flags(names) + b"\r\n")
    if not selected.read_only:
        code = b"PERMANENTFLAGS " + replies.flags([*names, "\\*"])
        session.out.send(replies.untagged("OK", "flags kept", code))


def flags_reply(session: ImapSession, number: int, entry: EntryFlags) -> bytes:
    """Return the FETCH that tells a message's flags unasked."""
    items = [flags_form(entry.flags, entry.keywords)]
    if session.qresync or session.notify is not None:  # RFC 7162 §3.2.4, RFC 5465 §5.1
        items.insert(0, fetch_replies.uid(entry.uid))
    if session.condstore:
        items.append(fetch_replies.modseq(entry.modseq))
    return fetch_replies.fetch(number, items)


async def _compare(session: ImapSession, selected: Selected) -> Changes:
    """Return what changed, from what is there now and what the connection knows, without flags:
    these are told at once."""
    view = session.backend.view
    opened = await view.reopen(selected.account, selected.mailbox)
    last = max(selected.numbering.last_uid, 0)
    uids = opened.uids
    most = selected.page
    for start in range(0, bisect_right(uids, last), most):
        changed = await view.flags(
            selected.account,
            selected.mailbox,
            [(uids[start], uids[min(start + most, len(uids)) - 1])],
            changed_since=selected.modseq,
        )
        await _tell_flags(session, selected, changed)
    return Changes(
        modseq=opened.modseq,
        uidnext=opened.uidnext,
        keywords=opened.keywords,
        added=uids[bisect_right(uids, last) :],
        changed=[],
        removed=ranges_of(_missing(selected.numbering.uids, uids)),
    )


def _missing(known: Sequence[int], there: Sequence[int]) -> list[int]:
    """Return the UIDs that are known and not there; both ascend. It looks at a page at a time: a set
    of a million takes 85 MB."""
    found: list[int] = []
    for start in range(0, len(known), PAGE):
        some = known[start : start + PAGE]
        same = there[bisect_left(there, some[0]) : bisect_right(there, some[-1])]
        if some != same:
            found += sorted({*some}.difference(same))
    return found


async def _tell_flags(
    session: ImapSession, selected: Selected, changed: Iterable[EntryFlags]
) -> None:
    """Tell new flags of messages, and wait until the client takes them. The modseq of the
    connection stays: where the comparison fails they are told again."""
    news = [
        (number, entry)
        for entry in changed
        if (number := selected.numbering.number(entry.uid))
        and selected.told.get(entry.uid) != entry.modseq
    ]
    if news:
        tell_new_keywords(session, selected, [entry for _, entry in news])
        session.out.send(b"".join(flags_reply(session, number, entry) for number, entry in news))
        await session.out.room()
