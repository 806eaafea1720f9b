"""Large JSON documents: read as the standard library reads them, but for those whose structure
is large."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from posthorn_api.http.large_json import SMALL, read_document

LONG = 5000
long_texts = st.builds(
    lambda unit, lead: lead + unit * (LONG // len(unit)),
    st.text(st.sampled_from('ab"\\/é€\n\0\U0001f600 '), min_size=1, max_size=8),
    st.text(max_size=3),
)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | long_texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | long_texts, inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(documents, st.booleans(), st.sampled_from([None, 2]))
@example({"a": "\\" * LONG + '"' * LONG}, True, None)
def test_a_document_is_read_as_by_the_standard_library(
    document: Any, ascii_only: bool, indent: int | None
) -> None:
    octets = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    assert read_document(octets) == document


@pytest.mark.parametrize("length", [256 * 1024 - 2, 256 * 1024 - 1, 256 * 1024, 512 * 1024 + 1])
def test_an_escape_across_the_edge_of_what_is_searched_at_a_time(length: int) -> None:
    for end in ('"', "\\", '\\"', "\n", "é"):
        document = [("x" * length) + end + "y" * LONG, end * LONG, 1]
        assert read_document(json.dumps(document).encode()) == document


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=20),
    st.integers(0, 60),
    st.sampled_from([b"", b'"', b"\\", b'\\"', b"\n", b"\xff", b"]"]),
)
def test_what_is_no_json_is_refused_as_by_the_standard_library(
    noise: bytes, place: int, extra: bytes
) -> None:
    good = b'{"a": "' + b"x" * LONG + b'", "b": ["' + b"\\n" * LONG + b'"]}'
    at = place * len(good) // 60
    for octets in (noise + good, good + noise, good[:at], good[:at] + extra + good[at:]):
        try:
            octets.decode()
            expected = json.loads(octets)
        except ValueError:
            with pytest.raises(ValueError):
                read_document(octets)
        else:
            assert read_document(octets) == expected


@pytest.mark.parametrize("unit", [b"{}", b"[]", b'""', b'{"a":1}', b"1", b'"' + b"x" * 100 + b'"'])
def test_a_large_structure_is_refused_before_it_becomes_objects(unit: bytes) -> None:
    octets = b"[" + b",".join([unit] * (8 * SMALL // (len(unit) + 1))) + b"]"
    tracemalloc.start()
    with pytest.raises(HTTPException) as caught:
        read_document(octets)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.status_code == 413
    assert peak < 4 * SMALL


def test_many_long_strings_are_no_large_structure() -> None:
    document = {
        "attachments": [
            {"content": "x" * 5000, "filename": f"{number}.bin"} for number in range(2000)
        ]
    }
    assert read_document(json.dumps(document).encode()) == document
