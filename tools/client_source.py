"""The Python client's operations and types as the running API's OpenAPI document has them.

``python -m tools.client_source`` (``make client``) writes them; a test compares what is there.
"""

from __future__ import annotations

import builtins
import functools
import keyword
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from posthorn_api import app
from posthorn_api.http import openapi as docs

HOME = Path(__file__).parents[1] / "services/cli/src/posthorn_cli/client"

_SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_JSON, _NDJSON = "application/json", "application/x-ndjson"
_HEAD = '''"""{about}

Made from the API's OpenAPI document by ``make client``; do not edit.
"""

from __future__ import annotations

'''


@functools.cache
def document() -> dict[str, Any]:
    """The OpenAPI document of the API as it is in this checkout; made once, not to be changed."""
    return docs.describe(app.operations())


def operations(openapi: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each operation under /v1, which is where keys are asked
    for."""
    return [
        (method.upper(), path, operation)
        for path, item in openapi["paths"].items()
        if path.startswith("/v1/")
        for method, operation in item.items()
    ]


def sources(openapi: dict[str, Any]) -> dict[Path, str]:
    """The files of the client that are made, by path."""
    made = {HOME / "types.py": _types(openapi), HOME / "operations.py": _operations(openapi)}
    return {path: _formatted(text) for path, text in made.items()}


def method_name(operation_id: str) -> str:
    """The method of an operation."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation_id).lower()


def _formatted(text: str) -> str:
    ruff = [str(Path(sys.executable).with_name("ruff"))]
    for command in (["check", "--select=I,F401", "--fix", "--quiet"], ["format", "--quiet"]):
        done = subprocess.run(
            [*ruff, *command, "--stdin-filename", str(HOME / "made.py"), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        )
        text = done.stdout
    return text


# ---- types


def _types(openapi: dict[str, Any]) -> str:
    parts = [_HEAD.format(about="The JSON shapes of requests and answers.")]
    parts.append("from typing import Any, Literal, NotRequired, TypedDict\n\n")
    parts.append(
        'class Page[T](TypedDict):\n    """A part of a list."""\n\n    items: list[T]\n    next_cursor: str | None\n'
        "    total: NotRequired[int | None]\n\n"
    )
    parts += [
        _shape(_plain(name), schema)
        for name, schema in sorted(openapi["components"]["schemas"].items())
        if not name.startswith("Page_")
        and name not in ("ProblemView", "HTTPValidationError", "ValidationError")
    ]
    return "\n".join(parts)


def _plain(name: str) -> str:
    """A shape's name; where two modules have one of a name, the framework puts the module before
    it."""
    module, _, last = name.rpartition("__")
    return (
        "".join(part.capitalize() for part in module.rpartition("__")[2].split("_")) + last
        if module
        else name
    )


def _shape(name: str, schema: dict[str, Any]) -> str:
    about = _prose(schema.get("description", f"{name}.")).split(". ")[0].rstrip(".") + "."
    if "enum" in schema or "properties" not in schema:
        return f'type {name} = {_type(schema)}\n"""{about}"""\n'
    required = schema.get("required", ())
    fields = {
        field: _type(inner) if field in required else f"NotRequired[{_type(inner)}]"
        for field, inner in schema["properties"].items()
    }
    if any(keyword.iskeyword(field) for field in fields):
        listed = ", ".join(f'"{field}": "{kind}"' for field, kind in fields.items())
        return f'{name} = TypedDict("{name}", {{{listed}}})\n"""{about}"""\n\n'
    lines = "".join(f"    {field}: {kind}\n" for field, kind in fields.items())
    return f'class {name}(TypedDict):\n    """{about}"""\n\n{lines}\n'


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        paged = re.fullmatch(r"Page_(\w+)_", name)
        return f"Page[{paged[1]}]" if paged else _plain(name)
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " | ".join(dict.fromkeys(_type(part) for part in schema[choice]))
    if "const" in schema:
        return f"Literal[{schema['const']!r}]"
    if "enum" in schema:
        return f"Literal[{', '.join(repr(value) for value in schema['enum'])}]"
    match schema.get("type"):
        case "array":
            return f"list[{_type(schema.get('items', {}))}]"
        case "object":
            inner = schema.get("additionalProperties")
            return f"dict[str, {_type(inner) if isinstance(inner, dict) else 'Any'}]"
        case str(kind):
            return _SCALARS[kind]
    return "Any"


# ---- operations


def _operations(openapi: dict[str, Any]) -> str:
    methods = [_method(*each) for each in operations(openapi)]
    text = "".join(methods)
    names = sorted({_plain(name) for name in openapi["components"]["schemas"]} | {"Page"})
    used = [name for name in names if re.search(rf"\b{name}\b", text)]
    return (
        _HEAD.format(about="Every operation of the REST API as a method.")
        + "from collections.abc import Iterator\nfrom typing import Literal, cast\n\n"
        + "from posthorn_cli.client.connection import Body, Connection, quoted\n"
        + f"from posthorn_cli.client.types import {', '.join(used)}\n\n\n"
        + "class Operations(Connection):\n"
        + '    """All operations. Each raises ApiError when the API refuses, and Unreachable when it does not answer."""\n\n'
        + text
    )


def _method(method: str, path: str, operation: dict[str, Any]) -> str:
    places: list[str] = []
    named: list[str] = []
    query: list[str] = []
    extra: list[str] = []
    address = path
    for parameter in operation.get("parameters", ()):
        name, kind = parameter["name"], _type(parameter["schema"])
        match parameter["in"]:
            case "path":
                variable = _path_variable(path, name)
                places.append(f"{variable}: {'int' if kind == 'int' else 'str'}")
                address = address.replace(f"{{{name}}}", f"{{quoted({variable})}}")
            case "query":
                variable = (
                    f"{name}_" if hasattr(builtins, name) or keyword.iskeyword(name) else name
                )
                required = parameter.get("required", False)
                optional = kind if required or "None" in kind else f"{kind} | None"
                named.append(f"{variable}: {optional}" + ("" if required else " = None"))
                query.append(f'"{name}": {variable}')
            case "header" if name in ("Idempotency-Key", "If-Match"):
                variable = name.lower().replace("-", "_")
                named.append(f"{variable}: str | None = None")
                extra.append(f"{variable}={variable}")
    body = operation.get("requestBody", {}).get("content", {})
    if _JSON in body:
        kind = _type(body[_JSON]["schema"])
        places.append(f"body: {kind}")
        extra.insert(0, "body=body")
    elif body:
        places.append("content: Body")
        extra.insert(0, f'content=content, media="{next(iter(body))}"')
        if len(body) > 1:
            named.append(f'media: str = "{next(iter(body))}"')
            extra[0] = "content=content, media=media"
    if query:
        extra.insert(0, f"query={{{', '.join(query)}}}")
    answer, streamed = _answer(operation)
    signature = ", ".join(["self", *places, *(["*", *named] if named else [])])
    where = f'f"{address}"' if "{" in address else f'"{address}"'
    call = ", ".join([f'"{method}"', where, *extra])
    about = _prose(operation["summary"])
    text = f'"""{about}"""'
    if answer == "None":
        done = f"self._call({call})"
    elif streamed:
        done = f"return self._stream({call})"
    else:
        done = f"return cast({answer!r}, self._call({call}))"
    return f"    def {method_name(operation['operationId'])}({signature}) -> {answer}:\n        {text}\n        {done}\n\n"


def _path_variable(path: str, name: str) -> str:
    if name != "id":
        return name
    collection = path.partition("/{id}")[0].rpartition("/")[2].replace("-", "_")
    return f"{collection.removesuffix('s')}_id"


def _answer(operation: dict[str, Any]) -> tuple[str, bool]:
    for status, response in sorted(operation["responses"].items()):
        content = response.get("content", {})
        if int(status) >= 400 or not content:
            continue
        if _JSON in content:
            return _type(content[_JSON].get("schema", {})), False
        if _NDJSON in content:
            return f"list[{_type(content[_NDJSON]['schema'])}]", False
        return "Iterator[bytes]", True
    return "None", False


def _prose(text: str) -> str:
    """Text for a docstring, on one line."""
    return " ".join(text.split()).replace("\\", "\\\\").replace('"""', "'''").replace("`", "``")


def main() -> None:
    """Write the files that differ."""
    for path, text in sources(document()).items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"written: {path.relative_to(HOME.parents[4])}")


if __name__ == "__main__":
    main()
