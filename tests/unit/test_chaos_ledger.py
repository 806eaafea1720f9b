"""The account of a chaos run: it must find what is lost, doubled, spoiled or back again, and
excuse only what is to be excused."""

from __future__ import annotations

import pytest
from chaos.ledger import Copy, Entry, Ledger, Verdict, content

ADA = "ada@chaos.test"


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def sent(
    ledger: Ledger, *outside: str, boxes: tuple[str, ...] = (), acknowledged: bool = True
) -> Entry:
    entry = ledger.enter("smtp-in", "writer@chaos.test", 2000, boxes, lambda _: outside)
    if acknowledged:
        ledger.acknowledged(entry)
    return entry


def read(ledger: Ledger, entry: Entry, uid: str, before: bytes = b"Received: by us\r\n") -> None:
    ledger.read(ADA, uid, before + entry.content)
    ledger.mailboxes[ADA].present.add(uid)


def judge(ledger: Ledger, *copies: Copy, troubled: bool = False) -> Verdict:
    return ledger.judge(copies, lambda _: troubled)


def copy(entry: Entry, *, answered: bool = True, whole: bool = True) -> Copy:
    return Copy(entry.number, entry.outside[0], 1.0, answered, whole)


def test_content_is_the_same_each_time_and_of_about_the_size_that_was_wanted() -> None:
    assert content(7, 5000, ADA) == content(7, 5000, ADA) != content(8, 5000, ADA)
    assert 4800 < len(content(7, 5000, ADA)) < 5200
    assert b"\r\n.\r\n..begun\r\n" in content(7, 300, ADA)


def test_what_is_there_once_is_well(ledger: Ledger) -> None:
    read(ledger, sent(ledger, boxes=(ADA,)), "1")
    assert judge(ledger).well


def test_what_was_acknowledged_and_is_nowhere_is_lost(ledger: Ledger) -> None:
    sent(ledger, boxes=(ADA,))
    sent(ledger, "ok-2@sink.test")
    sent(ledger, boxes=(ADA,), acknowledged=False)
    assert len(judge(ledger).lost) == 2


def test_a_second_copy_needs_an_end_of_data_that_was_not_answered(ledger: Ledger) -> None:
    first, second = sent(ledger, boxes=(ADA,)), sent(ledger, boxes=(ADA,))
    second.uncertain = 1
    for uid, entry in enumerate((first, first, second, second)):
        read(ledger, entry, str(uid))
    verdict = judge(ledger)
    assert [line.split()[0] for line in verdict.doubled] == [str(first.number)]
    assert not verdict.lost


def test_what_was_read_is_gone_only_by_a_quit_and_does_not_come_back(ledger: Ledger) -> None:
    entries = [sent(ledger, boxes=(ADA,)) for _ in range(4)]
    for uid, entry in enumerate(entries):
        read(ledger, entry, str(uid))
    box = ledger.mailboxes[ADA]
    box.removed |= {"0", "1"}
    box.doubtful |= {"2"}
    box.present = {"1"}
    verdict = judge(ledger)
    assert len(verdict.lost) == 1
    assert verdict.lost[0].startswith(str(entries[3].number))
    assert len(verdict.other) == 1
    assert "reappeared" in verdict.other[0]


def test_octets_that_differ_and_mail_that_nobody_sent_are_wrong(ledger: Ledger) -> None:
    entry = sent(ledger, "ok-1@sink.test", boxes=(ADA,))
    ledger.read(ADA, "1", entry.content + b"more\r\n")
    ledger.mailboxes[ADA].present.add("1")
    ledger.read(ADA, "2", b"Subject: who\r\n\r\n")
    assert len(judge(ledger, copy(entry, whole=False)).other) == 3


def test_a_second_copy_outside_is_excused_by_a_silent_host_or_a_fault_of_the_relay(
    ledger: Ledger,
) -> None:
    entry = sent(ledger, "ok-1@sink.test")
    assert judge(ledger, copy(entry, answered=False), copy(entry)).well
    assert judge(ledger, copy(entry), copy(entry), troubled=True).well
    assert judge(ledger, copy(entry), copy(entry)).doubled


def test_what_is_refused_outside_gives_one_notice_and_no_copy(ledger: Ledger) -> None:
    entry = ledger.enter("submission", ADA, 500, (), lambda number: (f"no-{number}@sink.test",))
    ledger.acknowledged(entry)
    assert judge(ledger).lost == [f"DSN about {entry.number} in {ADA}"]
    notice = b"Content-Type: multipart/report\r\n\r\n" + entry.content
    ledger.read(ADA, "1", notice)
    ledger.mailboxes[ADA].present.add("1")
    assert judge(ledger).well
    assert judge(ledger, copy(entry)).doubled
    ledger.read(ADA, "2", notice)
    ledger.mailboxes[ADA].present.add("2")
    assert judge(ledger).doubled


def test_what_was_cancelled_goes_nowhere(ledger: Ledger) -> None:
    entry = sent(ledger, "cancelled-1@cancel.test")
    assert judge(ledger).well
    assert judge(ledger, copy(entry)).doubled


def test_the_longest_pause_counts_from_the_beginning_to_the_end(ledger: Ledger) -> None:
    ledger.successes["pop3"] = [3.0, 4.0, 9.0]
    assert ledger.longest_pause("pop3", 0.0, 10.0) == 5.0
    assert ledger.longest_pause("pop3", 0.0, 20.0) == 11.0
    assert ledger.longest_pause("api", 0.0, 20.0) == 20.0
