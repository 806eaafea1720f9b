"""Which messages of a listing contain a text, decided as IMAP's SEARCH decides it.

A page is bounded: it examines at most ``EXAMINED`` messages, and ends after ``MOST_BYTES`` of them
or ``MOST_SECONDS``, whichever comes first, but never before its first message. Where it ends the
next page begins, so that no message is passed over.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from posthorn.ports.account_mail import Found, Message, Which
from posthorn.ports.errors import NotFound
from posthorn.ports.mailbox_view import Content, MailboxGone
from posthorn.runtime.search_content import CONTENTS, SearchContent, off_loop
from posthorn.wire.imap.search_keys import And, Body, SearchKey, Text
from posthorn.wire.imap.search_matching import Test, decide, prepared, texts_of
from posthorn.wire.message.searchable import SearchedHeader

EXAMINED = CONTENTS
"""Most messages whose content a page looks at."""
MOST_BYTES = 64 * 1024 * 1024
"""Bytes of messages read, after which a page ends."""
MOST_SECONDS = 10.0
"""Seconds after which a page ends."""


async def among(
    found: Found,
    which: Which,
    content: SearchContent,
    limit: int,
) -> Found:
    """Return those of the found messages, at most ``EXAMINED``, that contain the texts; at most
    ``limit``. Raises Unavailable; NotFound when the mailbox was deleted meanwhile."""
    if not found.messages:
        return found
    test = _test(which)
    try:
        contents = await content.locate([message.uid for message in found.messages])
    except MailboxGone:
        raise NotFound("the mailbox was deleted") from None
    matching: list[Message] = []
    left, end = MOST_BYTES, time.monotonic() + MOST_SECONDS
    following = found.next
    last = len(found.messages) - 1
    for place, message in enumerate(found.messages):
        there = contents.get(message.uid)
        if there is not None and (read := await _decide(test, message, there, content)) is not None:
            matches, size = read
            left -= size
            if matches:
                matching.append(message)
        if place < last and (len(matching) >= limit or left <= 0 or time.monotonic() >= end):
            following = message.uid
            break
        await asyncio.sleep(0)
    await content.keep()
    return replace(found, messages=matching, next=following)


def _test(which: Which) -> Test:
    keys: list[SearchKey] = []
    if which.text is not None:
        keys.append(Text(which.text))
    if which.body is not None:
        keys.append(Body(which.body))
    return prepared(And(tuple(keys)), iter(()))


async def _decide(
    test: Test, message: Message, there: Content, content: SearchContent
) -> tuple[bool, int] | None:
    """Return whether a message matches, and the bytes that were read for it; None when it is
    gone."""
    octets = await content.header(message.uid, there)
    if octets is None:
        return None
    header = SearchedHeader(octets)
    outcome = await off_loop(len(octets), decide, test, message.uid, header, None)
    if outcome is not None:
        return outcome, 0 if there.kept_header is not None else message.size
    found = await content.find(message.uid, there, *texts_of(test))
    if found is None:
        return None
    return bool(decide(test, message.uid, header, found)), message.size
