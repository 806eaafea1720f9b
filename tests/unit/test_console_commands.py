"""The commands that the console offers to copy send the requests that the console sends."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote

import httpx
import pytest
from tools.client_source import document

from posthorn_cli import session
from posthorn_cli.client import Client
from tests.e2e.command_line import CommandLine

SAMPLES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "services/console/web/src/api/commands.samples.json").read_text()
)
DIFFERENT = {"POST /v1/routes": "PUT /v1/routes/{domain}"}
"""Operations in whose place the command line uses another that does the same."""
OF_COMMAND_LINE = {"limit", "cursor", "format"}
"""Parameters that the command line sets by itself."""
SECRET = "s3cret"


@dataclass
class Api:
    """Answers each request with the example of its operation."""

    sent: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        for template, item in _paths().items():
            operation = item.get(request.method.lower())
            if operation and _values(template, request) is not None:
                return _example(operation)
        raise AssertionError(f"no such operation: {request.method} {request.url}")


@cache
def _paths() -> Mapping[str, Mapping[str, Any]]:
    paths: dict[str, Mapping[str, Any]] = document()["paths"]
    # the more is fixed in a path, the earlier it is looked at
    return dict(sorted(paths.items(), key=lambda each: each[0].count("{")))


def _values(template: str, request: httpx.Request) -> dict[str, str] | None:
    """Return the values in the path of a request to an operation; None if it is to another."""
    form = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)
    found = re.fullmatch(form, request.url.raw_path.decode().partition("?")[0])
    if found is None:
        return None
    return {name: unquote(value) for name, value in found.groupdict().items()}


def _example(operation: Mapping[str, Any]) -> httpx.Response:
    status, answer = next(
        (int(status), answer)
        for status, answer in operation["responses"].items()
        if status.startswith("2")
    )
    for media, content in answer.get("content", {}).items():
        value = _first(content) or _first(_schema(content.get("schema", {})))
        if isinstance(value, dict) and "next_cursor" in value:
            value = value | {"next_cursor": None}
        body = value if isinstance(value, str) else json.dumps(value)
        headers = {"Content-Type": media, "ETag": '"1"'}
        return httpx.Response(status, text=body, headers=headers)
    return httpx.Response(status, headers={"ETag": '"1"'})


def _schema(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: Mapping[str, Any] = document()["components"]["schemas"][name] if name else schema
    return found


def _first(described: Mapping[str, Any]) -> Any:
    """Return the first example of a schema or an answer, if it has one."""
    examples = described.get("examples")
    if isinstance(examples, dict):
        return next(iter(examples.values()))["value"]
    return examples[0] if examples else described.get("example")


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[CommandLine, Api]]:
    """A command line whose client talks to an :class:`Api`, in a folder with the files that the
    commands name."""
    monkeypatch.chdir(tmp_path)
    answering = Api()
    made = partial(Client, transport=httpx.MockTransport(answering))
    environment = {
        "HOME": str(tmp_path),
        "POSTHORN_URL": "http://127.0.0.1:1",
        "POSTHORN_API_KEY": "ph_test",
    }
    with patch.object(session, "Client", made):
        yield CommandLine(environment), answering


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda each: each["command"][9:70])
def test_a_command_sends_what_the_console_sends(
    sample: dict[str, Any], api: tuple[CommandLine, Api], tmp_path: Path
) -> None:
    shell, answering = api
    body = sample.get("body")
    (tmp_path / "configuration.json").write_text(json.dumps(body))
    if isinstance(body, str):
        (tmp_path / "lines.ndjson").write_text(body)
    elif body and "text" in body:
        (tmp_path / "text.txt").write_text(body["text"])
    line = sample["command"].removeprefix("posthorn ")
    ran = shell.attempt(line)
    if "give --yes to do it" in ran.err:
        ran = shell.attempt(f"{line} --yes")
    if "there is no terminal to ask for the" in ran.err:
        assert SECRET in json.dumps(body) or "username" in (body or ""), ran.err
        file = "--current-file" if line == "me password" else "--password-file"
        (tmp_path / "secret").write_text(SECRET)
        ran = shell.attempt(f"{line} {file} secret --password-file secret")
    # 1 is for what it has found: a listing, a wrong record
    assert ran.status in (0, 1), ran.err
    assert "a fault of this program" not in ran.err
    method, template = DIFFERENT.get(sample["call"], sample["call"]).split()
    wanted = {name: str(value) for name, value in (sample.get("path") or {}).items()}
    for request in answering.sent:
        values = _values(template, request)
        if request.method == method and values is not None and values.items() >= wanted.items():
            _compare(request, values, sample)
            return
    raise AssertionError([f"{each.method} {each.url}" for each in answering.sent])


def _compare(request: httpx.Request, values: dict[str, str], sample: dict[str, Any]) -> None:
    query = {name: str(value) for name, value in (sample.get("query") or {}).items()}
    given = {
        name: value for name, value in request.url.params.items() if name not in OF_COMMAND_LINE
    }
    assert {name: value.lower() for name, value in given.items()} == {
        name: value.lower() for name, value in query.items()
    }
    if isinstance(sample.get("body"), str):
        assert request.content.decode() == sample["body"]
        return
    body = {name: value for name, value in (sample.get("body") or {}).items() if name not in values}
    sent = json.loads(request.content) if request.content else {}
    if request.method in ("POST", "PUT"):  # of an object that is made, null is what is not named
        body = {name: value for name, value in body.items() if value is not None}
        sent = {name: value for name, value in sent.items() if value is not None}
    assert sent == body
