"""FETCH of flags made from columns, byte for byte."""

from __future__ import annotations

from array import array

from posthorn.ports.mailbox_view import ANSWERED, SEEN, FlagColumns
from posthorn.wire.imap.fetch_items import Attribute
from posthorn.wire.imap.numbering import Numbering
from posthorn_imap.flag_lines import flag_lines
from posthorn_imap.ranges import numbers_of

COLUMNS = FlagColumns(
    array("I", [3, 7, 2**32 - 1]),
    array("I", [0, SEEN, SEEN | ANSWERED]),
    array("Q", [1, 2**40, 5]),
    {7: ("Work", "$Junk")},
)
PLAIN = FlagColumns(COLUMNS.uids, COLUMNS.flags, COLUMNS.modseqs, {})


def test_items_are_in_the_order_asked_for() -> None:
    items = (Attribute.UID, Attribute.FLAGS)
    assert flag_lines(items, range(1, 4), COLUMNS) == [
        b"* 1 FETCH (UID 3 FLAGS ())\r\n",
        b"* 2 FETCH (UID 7 FLAGS (\\Seen Work $Junk))\r\n",
        b"* 3 FETCH (UID 4294967295 FLAGS (\\Answered \\Seen))\r\n",
    ]
    assert flag_lines((Attribute.MODSEQ, Attribute.FLAGS, Attribute.UID), [5, 6, 9], PLAIN) == [
        b"* 5 FETCH (MODSEQ (1) FLAGS () UID 3)\r\n",
        b"* 6 FETCH (MODSEQ (1099511627776) FLAGS (\\Seen) UID 7)\r\n",
        b"* 9 FETCH (MODSEQ (5) FLAGS (\\Answered \\Seen) UID 4294967295)\r\n",
    ]


def test_messages_that_the_client_does_not_know_are_left_out() -> None:
    lines = flag_lines((Attribute.FLAGS,), [1, 0, 2], PLAIN)
    assert lines == [b"* 1 FETCH (FLAGS ())\r\n", b"* 2 FETCH (FLAGS (\\Answered \\Seen))\r\n"]


def test_numbers_of_found_messages_are_those_the_client_was_told() -> None:
    numbering = Numbering(array("I", [3, 5, 7, 9, 11]))
    all_of = [(0, 5)]
    assert list(numbers_of(numbering, all_of, numbering.uids)) == [1, 2, 3, 4, 5]
    apart = [(0, 2), (3, 5)]
    assert list(numbers_of(numbering, apart, array("I", [3, 5, 9, 11]))) == [1, 2, 4, 5]
    # some are gone, and one is there that was not told yet
    assert list(numbers_of(numbering, all_of, array("I", [3, 9, 10]))) == [1, 4, 0]
