"""The examples in the API's description: there is one for each request and answer, and each is
what its schema says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from tools.client_source import document

DOCUMENT = document()
SCHEMAS = DOCUMENT["components"]["schemas"]
WITHOUT = {
    ("exportMail", "application/x-tar"),
    ("exportMyMail", "application/x-tar"),
    ("importMail", "application/mbox"),
    ("importMail", "application/x-tar"),
}
"""Archives, which an example would not explain."""


def contents() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every request and every answer of success, by operation and media type."""
    for path in DOCUMENT["paths"].values():
        for operation in path.values():
            successes = [
                answer
                for status, answer in operation["responses"].items()
                if status.startswith("2")
            ]
            for body in [operation.get("requestBody", {}), *successes]:
                for media, content in body.get("content", {}).items():
                    yield operation["operationId"], media, content


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (
        SCHEMAS[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    )
    return found


def explained(schema: dict[str, Any]) -> bool:
    """Return whether the schema, one of its alternatives, what it lists or one of its fields has
    an example."""
    schema = resolved(schema)
    if "example" in schema or schema.get("examples"):
        return True
    parts = [part for key in ("anyOf", "oneOf", "allOf") for part in schema.get(key, [])]
    parts += [schema["items"]] if "items" in schema else []
    return any(map(explained, [*parts, *schema.get("properties", {}).values()]))


def test_every_request_and_answer_has_an_example() -> None:
    lacking = {
        (operation, media)
        for operation, media, content in contents()
        if not (
            "example" in content or "examples" in content or explained(content.get("schema", {}))
        )
    }
    assert lacking <= WITHOUT


@pytest.mark.parametrize(
    "name", [name for name, schema in SCHEMAS.items() if schema.get("examples")]
)
def test_an_example_is_what_its_schema_says(name: str) -> None:
    whole = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    validator = Draft202012Validator(whole, format_checker=FormatChecker())
    for example in SCHEMAS[name]["examples"]:
        assert [error.message for error in validator.iter_errors(example)] == []
