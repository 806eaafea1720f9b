"""JSON between our parts: what orjson refuses passes all the same."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from posthorn.adapters.postgres.mailboxes.filing import encoded_verdict
from posthorn.model.verdict import Rule, Verdict, decode_verdict
from posthorn.runtime.json_bytes import dumps, loads
from tests.support.builders import make_message


@pytest.mark.parametrize(
    "document",
    [
        {"a": [1, 2.5, None, True], "ä": "\u2028\0"},
        {"helo": "\udcff", "ä": 1},
        {"t": ("x",)},
    ],
)
def test_what_was_encoded_is_decoded(document: dict[str, Any]) -> None:
    text = dumps(document)
    assert loads(text) == loads(text.decode()) == json.loads(json.dumps(document))
    assert b"\n" not in text and b": " not in text


def test_what_the_standard_library_reads_is_read() -> None:
    assert loads(b'"\\ud800"') == "\ud800"
    assert math.isnan(loads(b"NaN"))
    for wrong in (b"", b"{", b"\xff", b'{"a":1}x'):
        with pytest.raises(ValueError, match=r"."):
            loads(wrong)


@pytest.mark.parametrize("points", [1.5, math.nan, -math.inf])
@pytest.mark.parametrize("detail", ["plain", "a\0b", "a\ud800b", "null", "\\u0000"])
def test_a_verdict_becomes_what_jsonb_holds(points: float, detail: str) -> None:
    verdict = Verdict(1.0, rules=(Rule("SOME", points, detail),))
    message = make_message([1])
    message = replace(message, envelope=replace(message.envelope, verdict=verdict))
    text = encoded_verdict(message)
    assert text is not None
    document = json.loads(text.encode())
    assert "\0" not in str(document) and "\ud800" not in str(document)
    (rule,) = decode_verdict(document).rules
    assert rule.points == (points if math.isfinite(points) else 0.0)
    assert rule.detail == detail.replace("\0", "").replace("\ud800", "\ufffd")
