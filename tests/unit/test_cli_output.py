"""What commands print and what people may type."""

from __future__ import annotations

import io
import json
import re
from typing import Any, cast

import pytest

from posthorn_cli.client import ApiError, FieldFault
from posthorn_cli.client.types import EventView
from posthorn_cli.commands.sending import line_of, settled
from posthorn_cli.faults import CommandError, lines_of
from posthorn_cli.output import MANAGED_BY, Column, Output, harmless, moment, size
from posthorn_cli.values import generated, nullable, seconds_of, size_of, words_of

ITEMS = [
    {"name": "a\x1b[31m", "n": 1, "to": ["x", "y"], "on": True, "off": None},
    {"name": "b\tb", "n": 2},
]
COLUMNS = [Column("name"), Column("n"), Column("to"), Column("on"), Column("off")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(as_json: bool = False, out: io.StringIO | None = None) -> tuple[Output, io.StringIO]:
    out = out or io.StringIO()
    return Output(as_json, out, io.StringIO()), out


def test_a_pipe_gets_a_line_for_each_item_with_tabs_between_columns() -> None:
    output, out = printed()
    output.items(ITEMS, COLUMNS)
    assert out.getvalue() == "a�[31m\t1\tx,y\tyes\t-\nb�b\t2\t-\t-\t-\n"


def test_a_terminal_gets_a_table_that_it_does_not_obey() -> None:
    output, out = printed(out=Terminal())
    output.items(ITEMS, COLUMNS)
    assert "NAME" in out.getvalue()
    assert "[31m" not in out.getvalue().replace("�[31m", "")
    output.item({"note": "[bold]no markup[/bold]"})
    assert "[bold]no markup[/bold]" in out.getvalue()


def test_a_column_may_be_of_a_field_within_another() -> None:
    columns = [Column("name"), MANAGED_BY]
    mark = {"manager": "argo-cd", "fields": ["quota_bytes"]}
    output, out = printed()
    output.items(
        [{"name": "a", "managed_by": mark}, {"name": "b", "managed_by": None}],
        columns,
    )
    assert out.getvalue() == "a\targo-cd\nb\t-\n"


@pytest.mark.parametrize("manager", ["argo-cd", None])
def test_a_terminal_shows_who_manages_only_where_somebody_does(manager: str | None) -> None:
    output, out = printed(out=Terminal())
    output.items(
        [{"name": "a", "managed_by": manager and {"manager": manager}}, {"name": "b"}],
        [Column("name"), MANAGED_BY],
    )
    assert ("MANAGED BY" in out.getvalue()) == (manager is not None)
    assert ("argo-cd" in out.getvalue()) == (manager is not None)


LONG = "0198c1d2-c3b4-7a51-9e2f-8d7c6b5a4938"
REPLY = "451 4.7.1 greylisted, try again in five minutes"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_columns_of_a_terminal_are_aligned_and_values_whole(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    output, out = printed(out=Terminal())
    rows = [
        {"id": "1", "reply": REPLY, "message": LONG},
        {"id": "4711", "reply": "250 OK", "message": LONG[::-1]},
    ]
    output.items(rows, [Column("id"), Column("reply", prose=True), Column("message")])
    heading, *lines = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()
    starts = [heading.index(name) for name in ("ID", "REPLY", "MESSAGE")]
    assert [line[starts[2] :].rstrip() for line in lines if line[0] != " "] == [LONG, LONG[::-1]]
    first = lines[: next(at for at, line in enumerate(lines) if line.startswith("4711"))]
    assert " ".join(line[starts[1] : starts[2]].strip() for line in first) == REPLY
    assert (len(first) == 1) == (width == 200)


def test_a_trace_is_aligned_on_a_terminal_and_has_tabs_in_a_pipe() -> None:
    events = [
        {
            "at": "2026-11-29T08:00:00Z",
            "kind": kind,
            "detail": {"recipient": "b@x.test", "tls": None},
        }
        for kind in ("queued", "cancelled")
    ]
    shown = [line_of(cast("EventView", each), aligned=True) for each in events]
    assert len({line.index("recipient=b@x.test") for line in shown}) == 1
    assert line_of(cast("EventView", events[0]), aligned=False).split("\t")[1:] == [
        "queued",
        "recipient=b@x.test",
    ]


@pytest.mark.parametrize("items", [[], ITEMS[:1], ITEMS])
def test_json_of_a_list_is_an_array(items: list[dict[str, Any]]) -> None:
    output, out = printed(as_json=True)
    output.items(iter(items), COLUMNS)
    assert json.loads(out.getvalue()) == items


def test_an_object_is_its_fields() -> None:
    output, out = printed()
    output.item(ITEMS[0])
    assert out.getvalue().splitlines()[1] == "n\t1"


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x7f", "\x9b", "\u202e", "\ud800", "\n"])
def test_nothing_that_a_terminal_obeys_is_kept(character: str) -> None:
    assert harmless(f"a{character}b") == "a�b"


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("0", 0),
        ("1048576", 2**20),
        ("500MB", 500 * 10**6),
        ("2GiB", 2**31),
        ("1.5 KiB", 1536),
        ("1t", 10**12),
        ("7b", 7),
    ],
)
def test_sizes(text: str, octets: int) -> None:
    assert size_of(text) == octets


@pytest.mark.parametrize("text", ["", "x", "-1", "1XB", "GiB", "1 2", "1e9"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(CommandError):
        size_of(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("1.5h", 5400), ("2d", 172800), ("1w", 604800)],
)
def test_spans(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1y", "1h30m"])
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(CommandError):
        seconds_of(text)


def test_a_field_is_absent_null_or_a_value() -> None:
    assert nullable("quota_bytes", None, size_of) == {}
    assert nullable("quota_bytes", "None", size_of) == {"quota_bytes": None}
    assert nullable("quota_bytes", "unlimited", size_of) == {"quota_bytes": None}
    assert nullable("quota_bytes", "1KiB", size_of) == {"quota_bytes": 1024}
    assert words_of("a, b,") == ["a", "b"]


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (2**40, "1 TiB"),
        (None, "unlimited"),
    ],
)
def test_sizes_for_people(octets: int | None, text: str) -> None:
    assert size(octets) == text


def test_a_time_that_does_not_read_is_shown_as_it_is() -> None:
    assert moment("no time") == "no time"
    assert moment("2030-01-02T03:04:05+00:00").startswith("2030-01-0")


def test_generated_passwords_differ() -> None:
    assert len({generated() for _ in range(100)}) == 100
    assert len(generated()) >= 20


def test_a_refusal_is_a_line_and_its_fields() -> None:
    error = ApiError(
        422, "invalid", "It cannot be taken", "password: short", (FieldFault("password", "short"),)
    )
    assert lines_of(error) == ["It cannot be taken", "  password: short"]
    assert "context" in lines_of(ApiError(401, "", "", "no"))[0]


def event(kind: str, **detail: Any) -> Any:
    return {"at": "2030-01-01T00:00:00Z", "kind": kind, "detail": detail}


def test_who_has_a_message_and_who_never_will() -> None:
    accepted = event("accepted", recipients=3)
    assert settled([accepted]) == (set(), set(), 3)
    mixed = [
        accepted,
        event("delivered", recipients=["a@x"]),
        event("queued", recipients=["b@y", "c@y"]),
        event("deferred", recipient="b@y"),
        event("bounced", recipient="c@y"),
    ]
    assert settled(mixed) == ({"a@x"}, {"c@y"}, 3)
    assert settled([*mixed, event("delivered", recipient="b@y")]) == ({"a@x", "b@y"}, {"c@y"}, 3)
