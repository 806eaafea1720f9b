"""The texts of the API's description: sentences in the imperative, the customary words, bytes
and seconds, resources introduced."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tools.client_source import document

DOCUMENT = document()
OPERATIONS = [operation for item in DOCUMENT["paths"].values() for operation in item.values()]
NAMES = [operation["operationId"] for operation in OPERATIONS]
VERBS = {
    *(
        "Apply",
        "Cancel",
        "Check",
        "Classify",
        "Confirm",
        "Create",
        "Delete",
        "Discard",
        "Download",
        "Export",
        "Follow",
        "Get",
        "Hold",
        "Import",
    ),
    *(
        "List",
        "Move",
        "Probe",
        "Release",
        "Remove",
        "Replace",
        "Replay",
        "Restore",
        "Retry",
        "Rotate",
        "Search",
        "Send",
        "Suppress",
    ),
    *("Update", "Verify"),
}
MEANINGS = {
    400: "Malformed request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    408: "Request timeout",
    409: "Conflict",
    412: "Precondition failed",
    413: "Content too large",
    415: "Unsupported media type",
    422: "Validation failed",
    429: "Too many requests",
    500: "Internal error",
    503: "Service unavailable",
}
BANNED = re.compile(
    r"\bletters?\b|\boctets?\b(?!-stream)|\bdead[- ]letter|\bfor ever\b|\bat hand\b|\bbecame of\b|\bmade anew\b|\bdoes not read\b"
    r"|\bis told\b|\bare told\b|\bleads? to\b|\bmend\b|\bis there already\b|\bhow-manieth\b",
    re.IGNORECASE,
)


def texts(part: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every text that a reader sees, examples excepted, with its place in the document."""
    match part:
        case dict():
            for key, value in part.items():
                if key in ("summary", "description", "title") and isinstance(value, str):
                    yield f"{place}/{key}", value
                elif key not in ("example", "examples"):
                    yield from texts(value, f"{place}/{key}")
        case list():
            for number, value in enumerate(part):
                yield from texts(value, f"{place}/{number}")


@pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)
def test_an_operation_has_a_summary_in_the_imperative_and_a_description(
    operation: dict[str, Any],
) -> None:
    summary, description = operation["summary"], operation["description"]
    assert summary.partition(" ")[0] in VERBS
    assert summary.endswith(".")
    assert not summary[:-1].endswith(".")
    assert len(summary) <= 60
    assert description[0].isupper()
    assert description.endswith((".", "```"))
    assert description != summary


def test_summaries_are_distinct() -> None:
    summaries = [operation["summary"] for operation in OPERATIONS]
    assert len(set(summaries)) == len(summaries)


@pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)
def test_answers_are_named_by_their_customary_words(operation: dict[str, Any]) -> None:
    for status, answer in operation["responses"].items():
        if int(status) >= 400:
            assert answer["description"].startswith(MEANINGS[int(status)]), status
        assert answer["description"].endswith("."), status


@pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)
def test_every_problem_has_an_example_of_its_own(operation: dict[str, Any]) -> None:
    schema = {"$ref": "#/components/schemas/ProblemView", "components": DOCUMENT["components"]}
    for status, answer in operation["responses"].items():
        if int(status) >= 400:
            example = answer["content"]["application/problem+json"]["example"]
            assert [
                error.message for error in Draft202012Validator(schema).iter_errors(example)
            ] == []
            assert example["status"] == int(status)


def test_every_resource_is_introduced() -> None:
    used = [operation["tags"] for operation in OPERATIONS]
    assert all(len(tags) == 1 for tags in used)
    introduced = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    assert set(introduced) == {tag for tags in used for tag in tags}
    assert list(introduced) == list(dict.fromkeys(tag for tags in used for tag in tags)), (
        "in the order of the operations"
    )
    assert all(text.endswith(".") for text in introduced.values())


def test_no_text_uses_a_word_of_our_own_making() -> None:
    assert [(place, text) for place, text in texts(DOCUMENT) if BANNED.search(text)] == []


def test_the_list_of_banned_words_finds_them() -> None:
    assert BANNED.search("Letters out")
    assert BANNED.search("In octets.")
    assert not BANNED.search("A newsletter in bytes.")
