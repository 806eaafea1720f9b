"""THREAD: ORDEREDSUBJECT and REFERENCES (RFC 5256 §3 and §4)."""

from __future__ import annotations

import random
import re

from posthorn.wire.imap.threads import (
    Thread,
    Threaded,
    by_references,
    by_subject,
    format_threads,
    message_ids,
    references,
)
from tests.support.cpu_cost import cost


def shown(threads: list[Thread]) -> str:
    return b"".join(format_threads(threads)).decode()


def message(
    number: int,
    id_: str = "",
    refs: str = "",
    *,
    subject: str = "",
    reply: bool = False,
    sent: int = 0,
) -> Threaded:
    """A message sent in the order of its number, unless ``sent`` says otherwise."""
    return Threaded(
        number, sent or number, subject or f"s{number}", reply, id_, tuple(refs.split())
    )


def test_message_ids_are_compared_without_quotes_and_blanks() -> None:
    assert message_ids(' <a@b> junk <"a"@b>\t< c @ d > <none> <"x\\"y"@b>') == [
        "a@b",
        "a@b",
        "c@d",
        'x\\"y@b',
    ]
    assert references("<a@b> <c@d>", "<e@f>") == ("a@b", "c@d")
    assert references("nothing", "<e@f> <g@h>") == ("e@f",)
    assert references("", "") == ()


def test_by_subject_the_first_sent_is_above_all_others() -> None:
    messages = [
        message(1, subject="b", sent=9),
        message(2, subject="a", sent=2),
        message(3, subject="b", sent=1),
        message(4, subject="b", sent=5),
        message(5, subject="a", sent=3),
        message(6, subject="c", sent=7),
    ]
    assert shown(by_subject(messages)) == "(3 (4)(1))(2 5)(6)"
    assert shown(by_subject([])) == ""


def test_a_conversation_is_a_tree() -> None:
    messages = [
        message(1, "a"),
        message(2, "b", "a"),
        message(3, "c", "a b"),
        message(4, "d", "a"),
        message(5, "e", "a d"),
        message(6, "f"),
    ]
    assert shown(by_references(messages)) == "(1 (2 3)(4 5))(6)"


def test_a_message_that_is_missing_holds_its_replies_together() -> None:
    assert shown(by_references([message(1, "a", "x"), message(2, "b", "x")])) == "((1)(2))"
    assert shown(by_references([message(1, "a", "x")])) == "(1)"
    missing_between = [message(1, "a"), message(2, "c", "a b"), message(3, "d", "a b")]
    assert shown(by_references(missing_between)) == "(1 (2)(3))"


def test_a_truncated_references_field_does_not_keep_the_wrong_parent() -> None:
    messages = [
        message(1, "a"),
        message(2, "c", "a x c2"),
        message(3, "c2", "a"),
        message(4, "x", ""),
    ]
    assert shown(by_references(messages)) == "(1 3 2)(4)"


def test_loops_and_repeated_ids_end() -> None:
    assert shown(by_references([message(1, "a", "b"), message(2, "b", "a")])) in ("(1 2)", "(2 1)")
    assert shown(by_references([message(1, "a", "a")])) == "(1)"
    assert (
        shown(by_references([message(1, "a"), message(2, "a"), message(3, "b", "a")])) == "(1 3)(2)"
    )


def test_threads_with_one_base_subject_are_joined() -> None:
    reply = [message(1, "a", subject="x"), message(2, "b", subject="x", reply=True)]
    assert shown(by_references(reply)) == "(1 2)"
    both_first = [message(1, "a", subject="x"), message(2, "b", subject="x")]
    assert shown(by_references(both_first)) == "((1)(2))"
    dummy = [
        message(1, "a", "m", subject="x", reply=True),
        message(2, "b", "m", subject="x", reply=True),
        message(3, "c", subject="x"),
        message(4, "d", "n", subject="x"),
        message(5, "e", "n", subject="x"),
    ]
    assert shown(by_references(dummy)) == "((1)(2)(3)(4)(5))"
    no_subject = [Threaded(1, 1, ""), Threaded(2, 2, "")]
    assert shown(by_references(no_subject)) == "(1)(2)"


def test_siblings_and_threads_are_sorted_by_the_date_sent() -> None:
    messages = [
        message(1, "a", sent=5),
        message(2, "b", "a", sent=9),
        message(3, "c", "a", sent=7),
        message(4, "d", sent=1),
    ]
    assert shown(by_references(messages)) == "(4)(1 (3)(2))"


def test_every_message_is_in_one_thread_whatever_they_refer_to() -> None:
    chance = random.Random(5256)
    for _ in range(60):
        ids = [f"i{number}" for number in range(8)]
        messages = [
            Threaded(
                number,
                chance.randrange(5),
                chance.choice(["", "a", "b"]),
                chance.random() < 0.5,
                chance.choice(["", *ids]),
                tuple(chance.choices(ids, k=chance.randrange(4))),
            )
            for number in range(1, 13)
        ]
        for algorithm in (by_references, by_subject):
            text = shown(algorithm(messages))
            assert sorted(map(int, re.findall(r"\d+", text))) == list(range(1, 13))


def test_depth_and_hostile_references_cost_no_stack_and_little_time() -> None:
    deep = [
        message(number, f"i{number}", f"i{number - 1}", subject="s") for number in range(1, 20_001)
    ]

    def work() -> None:
        assert shown(by_references(deep)) == "(" + " ".join(map(str, range(1, 20_001))) + ")"
        backwards = [
            message(20_001 - each.number, each.message_id, " ".join(each.references))
            for each in deep
        ]
        shown(by_references(sorted(backwards, key=lambda each: each.number)))
        rings = [
            message(n, f"i{n % 500}", " ".join(f"i{(n + k) % 500}" for k in range(300)))
            for n in range(1, 1000)
        ]
        shown(by_references(rings))

    assert cost(work, 20) < 20
