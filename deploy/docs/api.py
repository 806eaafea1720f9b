"""The pages of the REST API, one a tag, from the OpenAPI document and the table of rights."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import Any

from deploy.docs.markdown import code, page, prose, table

from posthorn.ports.api_keys import Role
from posthorn_api import app
from posthorn_api.http import openapi
from posthorn_api.http.permissions import RULES, Rule

_ABOUT = """\
The API listens on port 8080 and speaks JSON. A running API has the same reference at `/docs`, with the OpenAPI document at
`/openapi.json`. To see requests at work, take [the tour](../../getting-started/tour.md).

- **Authentication**: `Authorization: Bearer KEY`, with an API key or a token of your [identity provider](../../how-to/oidc.md).
- **Errors** are [problem documents](../problems.md).
- **Lists** take `limit` (1 to 500) and `cursor`; they answer `items` and `next_cursor`, which is null on the last page.
- **Concurrent changes**: answers that show one object carry its `ETag`; send it back as `If-Match`, and the change is made
  only to an object that nobody has changed since.
- **Repeating safely**: every POST takes an `Idempotency-Key`, 1 to 255 characters of your choice. The same key with the same
  request is answered the same for 24 hours, and the request is done once.
- **Rate**: a key that asks for too much is answered 429 with `Retry-After`."""
_METHODS = ("get", "post", "put", "patch", "delete")
_USUAL = {"Idempotency-Key", "If-Match"}


def document() -> dict[str, Any]:
    """Return the OpenAPI document of this checkout."""
    return openapi.describe(app.operations())


def api_pages() -> dict[str, str]:
    """Return the pages by file name: an index, and one for each tag."""
    found = document()
    about = {tag["name"]: tag.get("description", "") for tag in found.get("tags", [])}
    by_tag: defaultdict[str, list[tuple[str, str, dict[str, Any]]]] = defaultdict(list)
    for path, item in found["paths"].items():
        for method in _METHODS:
            if method in item and path.startswith("/v1/"):
                by_tag[item[method]["tags"][0]].append((method.upper(), path, item[method]))
    pages = {}
    index = [_ABOUT]
    for tag, operations in by_tag.items():
        file = f"{_slug(tag)}.md"
        title = (
            tag[0].upper() + tag[1:]
            if tag != tag.upper() and tag not in ("dns", "dkim")
            else tag.upper()
        )
        rows = [
            (
                f"[{_summary(operation)}]({file}#{_slug(_summary(operation))})",
                code(f"{method} {path}"),
            )
            for method, path, operation in operations
        ]
        index.append(f"## {title}\n\n{table(('operation', 'request'), rows)}")
        reader = _Reader(found)
        sections = [reader.operation(*each) for each in operations]
        pages[file] = page(
            title, *([_text(about[tag])] if about.get(tag) else []), *sections, *reader.shapes()
        )
    return {"index.md": page("REST API", *index), **pages}


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _summary(operation: dict[str, Any]) -> str:
    return prose(operation["summary"]).rstrip(".")


def _text(text: str) -> str:
    """Return a description by paragraphs; blocks of code stay as they are."""
    pieces = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    done = []
    for place, piece in enumerate(pieces):
        if place % 2:
            done.append(piece)
        else:
            done += [prose(part) for part in piece.split("\n\n") if part.strip()]
    return "\n\n".join(done)


def _who(rule: Rule) -> str:
    text = ", ".join(code(role.value) for role in Role if role in rule.roles)
    if rule.whole_platform:
        text += "; keys of the whole platform only"
    if rule.content:
        text += "; needs the right to read content, and is written to the audit log"
    if rule.own:
        text += "; an account for its own address"
    return text


class _Reader:
    """Describes the operations of one page, and then once each shape that they meet."""

    def __init__(self, found: dict[str, Any]) -> None:
        self._shapes: dict[str, Any] = found["components"]["schemas"]
        self._met: list[str] = []

    def operation(self, method: str, path: str, operation: dict[str, Any]) -> str:
        """Return the section of an operation."""
        parts = [f"## {_summary(operation)}", f"```http\n{method} {path}\n```"]
        if operation.get("description"):
            parts.append(_text(operation["description"]))
        parts.append(f"Roles: {_who(RULES[operation['operationId']])}.")
        parameters = [
            each for each in operation.get("parameters", []) if each["name"] not in _USUAL
        ]
        if parameters:
            rows = [
                (
                    code(each["name"]),
                    each["in"],
                    self._type(each["schema"]),
                    prose(each.get("description", "")),
                )
                for each in parameters
            ]
            parts.append(table(("parameter", "in", "value", "meaning"), rows))
        if body := operation.get("requestBody"):
            parts += self._body(body)
        return "\n\n".join([*parts, *self._answers(operation["responses"])])

    def shapes(self) -> list[str]:
        """Return a section for each shape that was met, those included that only other shapes
        name."""
        sections = [self._section(name) for name in self._met]  # it grows meanwhile
        return ["## Shapes", *sections] if sections else []

    def _section(self, name: str) -> str:
        shape = self._shapes[name]
        rows = [
            (
                code(field)
                + ("" if field in shape.get("required", ()) or "View" in name else " (optional)"),
                self._type(schema),
                prose(schema.get("description", "")),
            )
            for field, schema in shape.get("properties", {}).items()
        ]
        about = _text(shape.get("description", ""))
        return "\n\n".join(
            filter(
                None,
                [
                    f"### {name} object",
                    about,
                    table(("field", "value", "meaning"), rows) if rows else "",
                ],
            )
        )

    def _body(self, body: dict[str, Any]) -> list[str]:
        media, content = next(iter(body["content"].items()))
        if media != "application/json":
            return [
                f"Body: {', '.join(map(code, body['content']))}. {prose(body.get('description', ''))}".strip()
            ]
        parts = [f"Body: {self._type(content['schema'])}."]
        shape = self._shapes[content["schema"]["$ref"].rpartition("/")[2]]
        given = content.get("example") or next(
            (each.get("value") for each in content.get("examples", {}).values()), None
        )
        fields = {
            name: field["examples"][0]
            for name, field in shape["properties"].items()
            if field.get("examples")
        }
        if example := given or fields:
            parts.append(f"```json\n{json.dumps(example, indent=2, ensure_ascii=False)}\n```")
        return parts

    def _answers(self, responses: dict[str, Any]) -> list[str]:
        parts = []
        for status, response in responses.items():
            if int(status) < 300:
                media, content = next(iter(response.get("content", {"": {}}).items()))
                shape = (
                    self._type(content["schema"]) if media == "application/json" else code(media)
                )
                parts.append(
                    f"Answer {status}: {prose(response['description']).rstrip('.')}{f'; {shape}' if shape else ''}."
                )
        refused = [status for status in responses if int(status) >= 400]
        return [*parts, f"[Problems](../problems.md): {', '.join(refused)}."]

    def _type(self, schema: dict[str, Any]) -> str:
        if "$ref" in schema:
            return self._reference(schema["$ref"].rpartition("/")[2])
        if "anyOf" in schema:
            return " or ".join(dict.fromkeys(self._type(each) for each in schema["anyOf"]))
        if "enum" in schema:
            return " or ".join(code(value) for value in schema["enum"])
        if "const" in schema:
            return code(schema["const"])
        if schema.get("type") == "array":
            return f"list of {self._type(schema.get('items', {}))}"
        return prose(str(schema.get("format") or schema.get("type", "any")))

    def _reference(self, name: str) -> str:
        shape = self._shapes[name]
        if "enum" in shape:
            return self._type(shape)
        if "next_cursor" in shape.get("properties", {}):
            return f"a page of {self._type(shape['properties']['items']['items'])}"
        if name not in self._met:
            self._met.append(name)
        return f"[{name}](#{_slug(name)}-object)"
