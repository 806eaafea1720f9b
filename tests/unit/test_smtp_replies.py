"""Replies: their form on the wire, and an enhanced code on each that must have one."""

from __future__ import annotations

import re

import pytest

from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.replies import Reply

REPLIES = {name: value for name, value in vars(smtp).items() if isinstance(value, Reply)}


@pytest.mark.parametrize("name", REPLIES)
def test_every_reply_is_well_formed(name: str) -> None:
    reply = REPLIES[name]
    lines = reply.octets.split(b"\r\n")
    assert lines.pop() == b""
    assert all(len(line) <= 510 for line in lines)  # RFC 5321 §4.5.3.1.5
    for number, line in enumerate(lines):
        mark = b" " if number == len(lines) - 1 else b"-"
        if reply.code == 354:
            assert re.fullmatch(rb"354 [\x20-\x7e]+", line)
            continue
        found = re.fullmatch(rb"(\d{3})" + mark + rb"([245])\.\d{1,3}\.\d{1,3} [\x20-\x7e]+", line)
        assert found, line
        assert found[1][:1] == found[2]  # RFC 2034 §4: both speak of the same class


@pytest.mark.parametrize("name", [name for name, reply in REPLIES.items() if reply.code >= 400])
def test_every_refusal_has_a_name_for_metrics(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", REPLIES[name].kind)


@pytest.mark.parametrize(
    "name",
    ["FAULT", "FULL", "OVER_QUOTA", "SUSPENDED", "GOING_DOWN", "TIMED_OUT", "NO_RECIPIENT_NOW"],
)
def test_what_is_our_fault_or_passes_is_transient(name: str) -> None:
    assert REPLIES[name].is_transient


def test_several_lines() -> None:
    assert (
        Reply(214, "2.0.0", "one\ntwo\nthree").octets
        == b"214-2.0.0 one\r\n214-2.0.0 two\r\n214 2.0.0 three\r\n"
    )
    assert smtp.ehlo_reply("mx.example.test", 10, starttls=True).octets == (
        b"250-mx.example.test\r\n250-SIZE 10\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-PIPELINING\r\n"
        b"250-ENHANCEDSTATUSCODES\r\n250-CHUNKING\r\n250-DSN\r\n250 STARTTLS\r\n"
    )


def test_text_of_others_cannot_be_made_a_reply() -> None:
    with pytest.raises(UnicodeEncodeError):
        Reply(250, "", "naïve")
