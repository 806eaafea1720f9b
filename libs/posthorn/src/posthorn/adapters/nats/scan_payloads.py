"""Questions to the scanning tier and its answers, as bytes.

A question is one line of JSON, a line feed, then the message, if it travels with the question. An
answer is a JSON object with one of ``facts``, ``verdict``, ``busy`` and ``error``. Fields may be
added; a reader ignores those it does not know and uses defaults for those that are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from posthorn.model.verdict import (
    Verdict,
    decode_authentication,
    decode_verdict,
    encode_authentication,
    encode_verdict,
)
from posthorn.ports.scan import (
    Listing,
    MessageQuestion,
    Report,
    SenderFacts,
    SenderQuestion,
)
from posthorn.runtime.json_bytes import dumps, loads
from posthorn.wire.auth.results import Authentication

BUSY: Final = b'{"v":1,"busy":true}'
"""The answer of a process that has as much to do as it may."""
MOST_REPORTS: Final = 2000
"""Reports of one payload."""


class PayloadError(ValueError):
    """The bytes are not what they should be."""


def encode_sender_question(question: SenderQuestion, wait_seconds: float) -> bytes:
    """Return the payload of the first question. ``wait_seconds``: how long the asker waits."""
    return _line(
        {
            "v": 1,
            "wait": wait_seconds,
            "ip": question.client,
            "helo": question.helo,
            "from": question.reverse_path,
            "greylist": question.greylist,
            "to": question.recipient,
        }
    )


def decode_sender_question(payload: bytes) -> tuple[SenderQuestion, float]:
    """Return the question and how long its asker waits, in seconds. Raises PayloadError."""

    def read(document: Mapping[str, Any]) -> tuple[SenderQuestion, float]:
        question = SenderQuestion(
            client=str(document["ip"]),
            helo=str(document["helo"]),
            reverse_path=str(document["from"]),
            greylist=bool(document.get("greylist", False)),
            recipient=str(document.get("to", "")),
        )
        return question, float(document["wait"])

    return _read(payload.partition(b"\n")[0], read)


def encode_message_question(question: MessageQuestion, wait_seconds: float) -> bytes:
    """Return the payload of the second question. ``wait_seconds``: how long the asker waits."""
    if (question.content is None) == (question.blob is None):
        raise ValueError("a question has either a content or the key of a blob")
    document = {
        "v": 1,
        "wait": wait_seconds,
        "id": question.message_id,
        "ip": question.client,
        "helo": question.helo,
        "from": question.reverse_path,
        "to": list(question.recipients),
        "at": question.received_at,
        "host": question.hostname,
        "blob": question.blob,
        "skip": question.skip_bytes,
        "size": question.size,
        "facts": None if question.facts is None else _facts(question.facts),
        "engines": sorted(question.engines),
        "utf8": question.smtputf8,
    }
    return _line(document) + (question.content or b"")


def decode_message_question(payload: bytes) -> tuple[MessageQuestion, float]:
    """Return the question and how long its asker waits, in seconds. Raises PayloadError."""
    line, newline, content = payload.partition(b"\n")

    def read(document: Mapping[str, Any]) -> tuple[MessageQuestion, float]:
        blob, facts = document.get("blob"), document.get("facts")
        engines = document.get("engines")
        question = MessageQuestion(
            message_id=str(document["id"]),
            client=str(document["ip"]),
            helo=str(document["helo"]),
            reverse_path=str(document["from"]),
            recipients=tuple(str(each) for each in document["to"]),
            received_at=float(document["at"]),
            hostname=str(document["host"]),
            content=content if blob is None else None,
            blob=None if blob is None else str(blob),
            skip_bytes=int(document.get("skip", 0)),
            size=int(document.get("size", 0)) or len(content),
            facts=None if facts is None else _read_facts(facts),
            smtputf8=bool(document.get("utf8", False)),
            **({} if engines is None else {"engines": frozenset(map(str, engines))}),
        )
        return question, float(document["wait"])

    if not newline:
        raise PayloadError("the line of the question does not end")
    return _read(line, read)


def encode_facts(facts: SenderFacts) -> bytes:
    """Return the answer to the first question."""
    return _line({"v": 1, "facts": _facts(facts)})


def encode_verdict_answer(verdict: Verdict) -> bytes:
    """Return the answer to the second question."""
    return _line({"v": 1, "verdict": encode_verdict(verdict)})


def encode_error(text: str) -> bytes:
    """Return the answer to a question that could not be answered."""
    return _line({"v": 1, "error": text[:200]})


def decode_facts(answer: bytes) -> SenderFacts:
    """Return the facts of an answer. Raises PayloadError, with the text of an ``error``."""
    return _read(answer, lambda document: _read_facts(_part(document, "facts")))


def decode_verdict_answer(answer: bytes) -> Verdict:
    """Return the verdict of an answer. Raises PayloadError, with the text of an ``error``."""
    return _read(answer, lambda document: decode_verdict(_part(document, "verdict")))


def encode_reports(reports: Sequence[Report]) -> bytes:
    """Return the payload of reports."""
    return _line({"v": 1, "reports": [[each.client, each.kind, each.count] for each in reports]})


def decode_reports(payload: bytes) -> list[Report]:
    """Return the reports of a payload, MOST_REPORTS at most. Raises PayloadError."""
    return _read(
        payload,
        lambda document: [
            Report(str(client), str(kind), max(1, int(count)))
            for client, kind, count in document["reports"][:MOST_REPORTS]
        ],
    )


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if "error" in document:
        raise PayloadError(str(document["error"]))
    part: Mapping[str, Any] = document[name]
    return part


def _facts(facts: SenderFacts) -> dict[str, Any]:
    results = encode_authentication(Authentication(iprev=facts.iprev, spf=facts.spf))
    return {
        "iprev": results["iprev"],
        "spf": results["spf"],
        "lists": [
            [each.zone, each.subject, each.code, each.points, each.reason]
            for each in facts.listings
        ],
        "greylist": facts.greylist_seconds,
    }


def _read_facts(document: Mapping[str, Any]) -> SenderFacts:
    results = decode_authentication(document)
    return SenderFacts(
        iprev=results.iprev,
        spf=results.spf,
        listings=tuple(
            Listing(str(zone), str(subject), str(code), float(points), str(reason))
            for zone, subject, code, points, reason in document.get("lists", ())
        ),
        greylist_seconds=int(document.get("greylist", 0)),
    )


def _line(document: Mapping[str, Any]) -> bytes:
    return dumps(document) + b"\n"


def _read[T](line: bytes, read: Callable[[Mapping[str, Any]], T]) -> T:
    try:
        return read(loads(line))
    except PayloadError:
        raise
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise PayloadError(f"it does not read: {type(error).__name__}") from error
