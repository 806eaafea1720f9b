"""NOTIFY (RFC 5465): its grammar, and which events which mailbox has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from posthorn.ports.folders import Folder, FolderList
from posthorn.wire.imap.commands import Notify, NotifyGroup
from posthorn.wire.imap.fetch_items import Attribute, BodyItem, Section
from posthorn.wire.imap.grammar_notify import parse_notify
from posthorn.wire.imap.reader import BadCommand, Reader
from posthorn_imap.notifications import Notifications

PAIR = frozenset({"MessageNew", "MessageExpunge"})
ALL_OF_MESSAGES = PAIR | {"FlagChange"}


def parse(line: bytes) -> Notify:
    return parse_notify(Reader([b" " + line]))


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"NONE", Notify()),
        (
            b"set status (Selected (messagenew (UID BODY.PEEK[HEADER.FIELDS (FROM)])"
            b" MessageExpunge)) (PERSONAL (MailboxName SubscriptionChange))",
            Notify(
                (
                    NotifyGroup(
                        "SELECTED",
                        PAIR,
                        items=(
                            Attribute.UID,
                            BodyItem(Section(text="HEADER.FIELDS", fields=(b"FROM",)), peek=True),
                        ),
                    ),
                    NotifyGroup("PERSONAL", frozenset({"MailboxName", "SubscriptionChange"})),
                ),
                status=True,
            ),
        ),
        (
            b"SET (selected-delayed (FlagChange MessageNew MessageExpunge)) (inboxes NONE)"
            b' (subtree Lists NONE) (mailboxes (inbox "a b" INBOX) (MessageNew MessageExpunge))'
            b" (subscribed NONE)",
            Notify(
                (
                    NotifyGroup("SELECTED-DELAYED", ALL_OF_MESSAGES),
                    NotifyGroup("INBOXES", frozenset()),
                    NotifyGroup("SUBTREE", frozenset(), ("Lists",)),
                    NotifyGroup("MAILBOXES", PAIR, ("INBOX", "a b")),
                    NotifyGroup("SUBSCRIBED", frozenset()),
                )
            ),
        ),
    ],
)
def test_notify(line: bytes, command: Notify) -> None:
    assert parse(line) == command


@pytest.mark.parametrize(
    ("line", "condition"),
    [
        (b"", "BAD"),
        (b"SET", "BAD"),
        (b"SET STATUS", "BAD"),
        (b"NONE x", "BAD"),
        (b"SET (personal)", "BAD"),
        (b"SET (personal ())", "BAD"),
        (b"SET (nowhere NONE)", "BAD"),
        (b"SET (subtree () NONE)", "BAD"),
        (b"SET (mailboxes NONE)", "BAD"),
        (b"SET (personal (MessageNew))", "BAD"),
        (b"SET (personal (MessageExpunge))", "BAD"),
        (b"SET (personal (FlagChange))", "BAD"),
        (b"SET (selected (MailboxName))", "BAD"),
        (b"SET (selected NONE) (selected-delayed NONE)", "BAD"),
        (b"SET (personal (MessageNew (UID) MessageExpunge))", "BAD"),
        (b"SET (selected (MessageNew (NOTHING) MessageExpunge))", "BAD"),
        (
            b"SET (personal (MailboxMetadataChange))",
            "NO [BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange)]",
        ),
        (b"SET" + b" (personal NONE)" * 200, "NO [NOTIFICATIONOVERFLOW]"),
    ],
)
def test_bad_notify(line: bytes, condition: str) -> None:
    with pytest.raises(BadCommand) as caught:
        parse(line)
    assert str(caught.value).startswith(condition + " ")


def folder(number: int, name: str, modseq: int = 5) -> Folder:
    return Folder(number, name, None, 1, 1, modseq, 0, 0, 0, 0)


def test_events_of_groups_add_up_to_the_first_none() -> None:
    notify = Notifications(
        parse(
            b"SET (mailboxes INBOX (MessageNew MessageExpunge)) (subtree Lists NONE)"
            b" (subscribed (MessageNew MessageExpunge FlagChange)) (personal (MailboxName))"
        ).groups
    )
    subscribed = frozenset({"Sent", "Lists/a"})
    assert notify.events("INBOX", subscribed) == PAIR | {"MailboxName"}
    assert notify.events("Sent", subscribed) == ALL_OF_MESSAGES | {"MailboxName"}
    assert notify.events("Lists", subscribed) == frozenset()
    assert notify.events("Lists/a", subscribed) == frozenset()
    assert notify.events("Listsx", subscribed) == {"MailboxName"}
    assert not notify.tells_messages


def test_inboxes_are_what_mail_is_delivered_into() -> None:
    notify = Notifications(parse(b"SET (inboxes (MessageNew MessageExpunge))").groups)
    listed = [folder(1, "INBOX"), replace(folder(2, "Spam"), role="junk"), folder(3, "Sent")]
    notify.take(FolderList(listed, frozenset()))
    assert set(notify.watched) == {1, 2}


def test_hints_that_concern_the_client() -> None:
    notify = Notifications(parse(b"SET (mailboxes INBOX (MessageNew MessageExpunge))").groups)
    notify.take(FolderList([folder(1, "INBOX"), folder(2, "Sent")], frozenset()))
    assert not notify.hear_of(1, 5)  # known
    assert not notify.hear_of(2, 9)  # not asked for
    assert not notify.is_behind
    for mailbox, modseq in ((1, 6), (2, 0), (7, 3), (0, 0)):
        notify.is_behind = False
        assert notify.hear_of(mailbox, modseq)
        assert notify.is_behind
    assert not Notifications(()).hear_of(1, 9)


def test_mailboxes_are_compared_once_a_second() -> None:
    notify = Notifications(())
    assert notify.wait() == 0.0
    assert 0.0 < notify.wait() <= 1.0
