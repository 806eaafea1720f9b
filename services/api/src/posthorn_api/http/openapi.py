"""The description of the API for programs (/openapi.json), and from it a page for people (/docs) that needs no other host."""

from __future__ import annotations

import json
from html import escape
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from posthorn_api.bulk.schemas import AccountLine, AliasLine, ImportAnswer
from posthorn_api.http.examples import put_into
from posthorn_api.http.problems import MEDIA_TYPE

_ABOUT = """Domains, accounts, aliases, mail, letters out and dead letters of a Posthorn system.

Every request under /v1 carries an API key: `Authorization: Bearer <key>`. Errors are problem documents (RFC 9457).
A key belongs to a tenant, or to the whole platform; what is another tenant's is answered 404. A key of a suspended tenant
is answered 403, and its accounts can neither log in nor send; mail for them is still received.
Answers that show one object carry its `ETag`; a change with `If-Match` is done only to an object that has not changed since.
Lists take `limit` (1 to 500) and `cursor`, and answer `items` and `next_cursor`, which is null on the last page.
Every POST takes an `Idempotency-Key`."""

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
code,pre{font:14px/1.4 ui-monospace,monospace;background:#f4f4f0}pre{padding:.7rem;overflow:auto}
section{border-top:1px solid #ccc;margin-top:2rem}td,th{padding:.1rem 1rem .1rem 0;text-align:left;vertical-align:top}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}code,pre{background:#282828}}
"""


def describe(app: FastAPI) -> dict[str, Any]:
    """Give the OpenAPI document."""
    document = get_openapi(title="Posthorn API", version=version("posthorn-api"), description=_ABOUT, routes=app.routes)
    for shape in (AccountLine, AliasLine, ImportAnswer):  # streamed, so that the framework does not know of them
        schema = shape.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)  # they are there already
        document["components"]["schemas"][shape.__name__] = schema
    for item in document["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if int(status) < 400:
                    response["description"] = response["description"].replace("Successful Response", "It is done")
                else:
                    response["content"] = {MEDIA_TYPE: next(iter(response["content"].values()))}
    put_into(document)
    return document


def render(document: dict[str, Any]) -> str:
    """Give the page."""
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Posthorn API</title>',
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>',
        f"<h1>Posthorn API {escape(document['info']['version'])}</h1>",
        *(f"<p>{_prose(part)}</p>" for part in _ABOUT.split("\n\n")),
        '<p>For programs: <a href="/openapi.json">/openapi.json</a></p>',
    ]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            parts += _operation(document, method, path, operation)
    parts.append("<section><h2>Shapes</h2>")
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts.append(f'<h3 id="{escape(name)}">{escape(name)}</h3><p>{_prose(schema.get("description", ""))}</p>')
        parts += _fields(schema)
    return "\n".join([*parts, "</section></html>"])


def _operation(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> list[str]:
    parts = [
        f'<section><h2 id="{operation["operationId"]}">{escape(operation["summary"])}</h2>',
        f"<p><code>{method.upper()} {escape(path)}</code></p><p>{_prose(operation.get('description', ''))}</p>",
        f"<pre>{escape(_curl(document, method, path, operation))}</pre>",
    ]
    if operation.get("parameters"):
        parts.append("<table>")
        for parameter in operation["parameters"]:
            place, about = parameter["in"], _prose(parameter.get("description", ""))
            parts.append(f"<tr><td><code>{escape(parameter['name'])}</code><td>{place}<td>{about}")
        parts.append("</table>")
    parts.append("<table>")
    for status, response in operation["responses"].items():
        content: dict[str, Any] = next(iter(response.get("content", {}).values()), {})
        shape = _type(content["schema"]) if "schema" in content else ""
        parts.append(f"<tr><td>{status}<td>{_prose(response['description'])}<td>{shape}")
    return [*parts, "</table></section>"]


def _curl(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    line = 'curl -H "Authorization: Bearer $KEY"' + ("" if method == "get" else f" -X {method.upper()}")
    body = operation.get("requestBody")
    if body:
        content = body["content"].get("application/json")
        if content is None:
            media = next(iter(body["content"]))
            return f"{line} -H 'Content-Type: {media}' -T {'lines.ndjson' if 'json' in media else 'FILE'} $URL{path}"
        reference = content["schema"]["$ref"].rpartition("/")[2]
        fields = document["components"]["schemas"][reference]["properties"]
        example = {name: field["examples"][0] for name, field in fields.items() if field.get("examples")}
        line += f" --json '{json.dumps(example)}'"
    return f"{line} $URL{path}"


def _fields(schema: dict[str, Any]) -> list[str]:
    required = schema.get("required", ())
    rows = [
        f"<tr><td><code>{escape(name)}</code><td>{_type(field)}<td>{'' if name in required else 'optional'}"
        f"<td>{_prose(field.get('description', ''))}"
        for name, field in schema.get("properties", {}).items()
    ]
    return ["<table>", *rows, "</table>"]


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    return escape(str(schema.get("format") or schema.get("type", "anything")))


def _prose(text: str) -> str:
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces))
