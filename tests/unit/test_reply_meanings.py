"""What replies of SMTP servers mean."""

from __future__ import annotations

import pytest

from posthorn.wire.smtp.reply_meanings import meaning_of, meaning_of_attempt


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        (
            "550 5.1.1 <x@example.test>: no such user",
            "The mailbox does not exist. It is not tried again.",
        ),
        ("452-4.2.2 over quota", "The mailbox is full. It is tried again."),
        (
            "451 4.7.1 Greylisted, please try again",
            "A rule of the server forbids it for now, often since it does not know the sender yet (greylisting)."
            " It is tried again.",
        ),
        (
            "550 5.7.509 blocked",
            "A rule of the server forbids it; it does not say which. It is not tried again.",
        ),
        ("421 try later", "The server ends the connection; it may take mail later. It is tried again."),
        ("250 2.0.0 queued as 5.1.1", "The server took the message."),
        ("", ""),
        ("connection refused by 10.5.1.1", ""),
        ("version 4.2.2.1 of 5.1", ""),
        ("354 go on", ""),
    ],
)  # fmt: skip
def test_the_reply_that_ends_an_attempt_is_explained_with_what_follows(
    reply: str, meaning: str
) -> None:
    assert meaning_of_attempt(reply) == meaning


def test_an_enhanced_code_says_more_than_the_code() -> None:
    assert "authenticated" in meaning_of_attempt("5.7.26")
    assert meaning_of(550, "5.1.1") == "The mailbox does not exist."
    assert (
        meaning_of(550, "5.9.9")
        == "The mailbox does not exist, or the server refuses it by a rule."
    )
    assert meaning_of(599) == "The server refuses it permanently."
