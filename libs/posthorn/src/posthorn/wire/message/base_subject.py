"""The base subject, which messages of one conversation share (RFC 5256 §2.1)."""

from __future__ import annotations

import re

from posthorn.wire.message.header_decoding import decode_text

_LONGEST = 1000
"""Characters of a subject that count, decoded."""
_LONGEST_FIELD = 16_000
_BLANKS = re.compile(r"[ \t]+")
_BLOB = re.compile(r"\[[^\[\]]*\] *")
_LEADER = re.compile(r" *(?:\[[^\[\]]*\] *)*(?:re|fwd?) *(?:\[[^\[\]]*\] *)?: *", re.IGNORECASE)


def base_subject(field: str) -> tuple[str, bool]:
    """Return the base subject of an unfolded Subject field, and whether the field is that of a
    reply or of a forwarded message."""
    text = _BLANKS.sub(" ", decode_text(field[:_LONGEST_FIELD])[:_LONGEST]).strip()
    is_reply = False
    while True:
        text, had_trailer = _without_trailers(text)
        text, had_leader = _without_leaders(text)
        is_reply = is_reply or had_trailer or had_leader
        if text[:5].lower() != "[fwd:" or not text.endswith("]"):
            return text, is_reply
        text = text[5:-1].strip()
        is_reply = True


def _without_trailers(text: str) -> tuple[str, bool]:
    end = len(text)
    while text[max(end - 5, 0) : end].lower() == "(fwd)":
        end -= 5
        while end and text[end - 1] == " ":
            end -= 1
    return text[:end], end < len(text)


def _without_leaders(text: str) -> tuple[str, bool]:
    at, is_reply = 0, False
    while True:
        if (found := _LEADER.match(text, at)) is not None:
            at, is_reply = found.end(), True
        elif (found := _BLOB.match(text, at)) is not None and found.end() < len(text):
            at = found.end()
        else:
            return text[at:], is_reply
