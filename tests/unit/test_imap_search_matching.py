"""SEARCH keys: what goes to the store, what is decided by looking, and that both together are the
key."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.imap.search_keys import (
    All,
    And,
    Body,
    Compare,
    Day,
    Flag,
    Header,
    Not,
    Numbers,
    OnDay,
    Or,
    SearchKey,
    Text,
    Uids,
    is_metadata,
)
from posthorn.wire.imap.search_matching import (
    NONE,
    decide,
    metadata_within,
    prepared,
    resolved,
    split,
    texts_of,
)
from posthorn.wire.imap.sequence_set import STAR, SequenceSet
from posthorn.wire.message.searchable import Found, SearchedHeader, fold

SEEN, FLAGGED = Flag("\\Seen"), Flag("\\Flagged")


def test_metadata_goes_to_the_store_alone() -> None:
    """apache/james ADR 54: flags, dates and UIDs never go to a text index."""
    key = And((SEEN, Or(FLAGGED, Not(All()))))
    assert split(key) == (key, None)


def test_the_store_narrows_what_must_be_looked_at() -> None:
    text = Text("x")
    assert split(text) == (All(), text)
    assert split(And((SEEN, And((FLAGGED, text))))) == (And((SEEN, FLAGGED)), text)
    either = Or(And((SEEN, text)), And((FLAGGED, Body("y"))))
    assert split(either) == (Or(SEEN, FLAGGED), either)
    assert split(Not(Or(SEEN, text))) == (Not(Or(SEEN, NONE)), Not(Or(SEEN, text)))
    assert split(Or(SEEN, text))[0] == All()


def test_numbers_and_the_saved_set_become_uids() -> None:
    def numbered(messages: SequenceSet) -> list[tuple[int, int]]:
        return [(low * 10, high * 10) for low, high in messages.resolve(5)]

    key = Or(Numbers(SequenceSet(((1, 2), (4, STAR)))), Not(Numbers(SequenceSet(is_saved=True))))
    assert resolved(key, numbered, [(7, 9)]) == Or(
        Uids(SequenceSet(((10, 20), (40, 50)))), Not(Uids(SequenceSet(((7, 9),))))
    )
    assert resolved(Uids(SequenceSet(is_saved=True)), numbered, []) == NONE


def leaves() -> st.SearchStrategy[SearchKey]:
    texts = st.sampled_from(["one", "TWO", "Drei", "zwölf", "e"])
    return st.one_of(
        st.sampled_from([All(), SEEN, FLAGGED, OnDay(Day.SENT, Compare.ON, date(2020, 1, 2))]),
        st.builds(Header, st.sampled_from(["subject", "to"]), st.sampled_from(["one", "", "DREI"])),
        st.builds(Body, texts),
        st.builds(Text, texts),
    )


def keys() -> st.SearchStrategy[SearchKey]:
    return st.recursive(
        leaves(),
        lambda inner: st.one_of(
            st.builds(Not, inner),
            st.builds(Or, inner, inner),
            st.builds(And, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        ),
        max_leaves=8,
    )


class Message:
    """A message as a naive search sees it."""

    def __init__(self, uid: int) -> None:
        words = ["one", "two", "drei", "Zwölf"]
        self.uid = uid
        self.is_seen, self.is_flagged = bool(uid & 1), bool(uid & 2)
        self.subject = words[uid % 4]
        self.body = words[uid // 4 % 4]
        self.day = uid % 3
        to = "To: e@example.test\r\n" if uid % 5 == 0 else ""
        self.header = f"Subject: {self.subject}\r\nDate: {self.day + 1} Jan 2020\r\n{to}\r\n"

    def matches(self, key: SearchKey) -> bool:
        match key:
            case All():
                return True
            case And(several):
                return all(map(self.matches, several))
            case Or(left, right):
                return self.matches(left) or self.matches(right)
            case Not(inner):
                return not self.matches(inner)
            case Flag(flag):
                return self.is_seen if flag == "\\Seen" else self.is_flagged
            case Header("subject", text):
                return text.casefold() in self.subject.casefold()
            case Header(_, text):
                return "To:" in self.header and text.casefold() in "e@example.test"
            case Body(text):
                return text.casefold() in self.body.casefold()
            case Text(text):
                return text.casefold() in (self.header + "\0" + self.body).casefold()
            case OnDay():
                return self.day == 1
            case _:
                raise AssertionError(key)


MESSAGES = [Message(uid) for uid in range(60)]


def store(key: SearchKey) -> Collection[int]:
    assert is_metadata(key)
    return {message.uid for message in MESSAGES if message.matches(key)}


@given(keys())
def test_parts_together_are_the_key(key: SearchKey) -> None:
    first, rest = split(key)
    found = set()
    test = None
    if rest is not None:
        test = prepared(rest, iter([store(each) for each in metadata_within(rest)]))
    for message in MESSAGES:
        if message.uid not in store(first):
            assert not message.matches(key)
            continue
        outcome: bool | None = True
        if test is not None:
            header = SearchedHeader(message.header.encode())
            body, text = texts_of(test)
            inside = {each for each in body | text if each in fold(message.body)}
            outcome = decide(test, message.uid, header, None)
            last = decide(test, message.uid, header, Found(body & inside, text & inside))
            assert outcome in (None, last)
            outcome = last
        if outcome:
            found.add(message.uid)
    assert found == {message.uid for message in MESSAGES if message.matches(key)}
