"""What a command prints: tables for people, plain lines for pipes, JSON for programs.

On a terminal, lists are tables and an object is its fields, with colour unless NO_COLOR is set.
Into a pipe, a list is a line for each item with tabs between the columns, and an object a line for
each field. ``--json`` gives an array or an object, whole. What comes from elsewhere (a subject, a
host's reply) never reaches the terminal with its control characters.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

_COUNTED = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
)
_NARROWEST_PROSE = 24
"""Characters."""
_GAP = 2
"""Between two columns of a table."""
_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: the item's field, what is above it, and how a value is written for
    people."""

    field: str
    """A field of a field as ``outer.inner``."""
    title: str = ""
    show: Callable[[Any], str] | None = None
    style: Callable[[Any], str] | None = None
    prose: bool = False
    """Whether a value may be broken into several lines where the terminal is too narrow; else it
    stays whole, to be copied."""
    seldom: bool = False
    """Whether it is left out on a terminal where no item has a value."""

    def heading(self) -> str:
        """Return the heading of the column."""
        return self.title or self.field.removesuffix("_at").replace("_", " ")

    def value(self, item: Mapping[str, Any]) -> Any:
        """Return the value of an item; None: it has none."""
        outer, _, inner = self.field.partition(".")
        found = item.get(outer)
        return (found or {}).get(inner) if inner else found


MANAGED_BY = Column("managed_by.manager", "managed by", seldom=True)
"""The tool whose configuration names the object (ADR 51)."""


class Output:
    """Where a command prints to."""

    def __init__(self, as_json: bool, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.as_json = as_json
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._console = Console(file=self._out, highlight=False, soft_wrap=False)
        self.for_people = self._out.isatty()
        """Whether it is a terminal."""

    def items(self, items: Iterable[Mapping[str, Any]], columns: Sequence[Column]) -> int:
        """Print a list, and return how many items there were."""
        if self.as_json:
            return self._json_items(items)
        if not self.for_people:
            number = 0
            for number, item in enumerate(items, 1):  # noqa: B007 - counted
                self.line("\t".join(plain(column.value(item)) for column in columns))
            return number
        there = list(items)
        columns = [
            column
            for column in columns
            if not column.seldom or any(column.value(item) is not None for item in there)
        ]
        rows = [[_cell(column, column.value(item)) for column in columns] for item in there]
        if rows:
            self._table(columns, rows)
        else:
            self.note("none")
        return len(rows)

    def _table(self, columns: Sequence[Column], rows: Sequence[Sequence[Text]]) -> None:
        """Print a table as wide as its columns need, even beyond the terminal: only prose is
        broken into lines."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        needed = _GAP * (len(columns) - 1)
        for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
            heading = column.heading().upper()
            widest = max(len(heading), *(cell.cell_len for cell in cells))
            narrowest = min(widest, _NARROWEST_PROSE) if column.prose else widest
            needed += narrowest
            table.add_column(
                heading, overflow="fold", no_wrap=not column.prose, min_width=narrowest
            )
        for row in rows:
            table.add_row(*row)
        console = self._console
        if needed > console.width:
            console = Console(file=self._out, highlight=False, width=needed)
        console.print(table)

    def _json_items(self, items: Iterable[Mapping[str, Any]]) -> int:
        number = 0
        for number, item in enumerate(items, 1):
            self._out.write(
                ("[\n" if number == 1 else ",\n") + json.dumps(item, ensure_ascii=False)
            )
        self._out.write("\n]\n" if number else "[]\n")
        return number

    def item(self, item: Mapping[str, Any], columns: Sequence[Column] = ()) -> None:
        """Print one object; ``columns`` say how some of its fields are written."""
        if self.as_json:
            self.json(item)
            return
        known = {column.field: column for column in columns}
        if not self.for_people:
            for name, value in item.items():
                self.line(f"{name}\t{plain(value)}")
            return
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for name, value in item.items():
            column = known.get(name, Column(name))
            table.add_row(column.heading(), _cell(column, value))
        self._console.print(table)

    def json(self, document: object) -> None:
        """Print a document as JSON."""
        self._out.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")

    def json_line(self, document: object) -> None:
        """Print a document as JSON on one line, at once."""
        self._out.write(json.dumps(document, ensure_ascii=False) + "\n")
        self._out.flush()

    def done(self, text: str, document: Mapping[str, Any]) -> None:
        """Return what was done: as a sentence, or as ``document`` with --json."""
        if self.as_json:
            self.json(document)
        else:
            self.line(text)

    def deleted(self, what: str, name: str) -> None:
        """Say that something was deleted."""
        self.done(f"{what} {name} deleted", {"deleted": name})

    def once(self, made: Mapping[str, Any], field: str, columns: Sequence[Column]) -> None:
        """Print an object with a secret that is shown this once; into a pipe, the secret in
        ``field`` alone."""
        if self.as_json or self.for_people:
            self.item(made, columns)
            self.note(f"The {field} is shown this once: keep it.")
        else:
            self.line(str(made[field]))

    def line(self, text: str) -> None:
        """Print a line of text without control characters."""
        self._out.write(harmless(text, "\t") + "\n")
        self._out.flush()

    def write(self, pieces: Iterable[bytes]) -> None:
        """Write bytes as they are."""
        self._out.flush()
        for piece in pieces:
            self._out.buffer.write(piece)
        self._out.buffer.flush()

    def note(self, text: str) -> None:
        """Tell the person something that is no result, on the error output."""
        self._err.write(harmless(text, "\n") + "\n")
        self._err.flush()

    def progress(self, *columns: ProgressColumn) -> Progress:
        """Return a progress bar on the error output; it shows nothing when that is no terminal."""
        console = Console(file=self._err)
        return Progress(
            *(columns or _COUNTED),
            console=console,
            disable=not self._err.isatty(),
            transient=False,
        )


def plain(value: object) -> str:
    """Write a value in a column of a pipe."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ",".join(plain(each) for each in value) or "-"
        case dict():
            return json.dumps(value, ensure_ascii=False)
    return harmless(str(value))


def size(count: object) -> str:
    """Write a number of bytes for people."""
    if not isinstance(count, int):
        return "unlimited" if count is None else str(count)
    value = float(count)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            return (
                f"{value:.0f} {unit}"
                if unit == "B" or value == int(value)
                else f"{value:.1f} {unit}"
            )
        value /= 1024
    raise AssertionError("the last unit takes all")


def moment(value: object) -> str:
    """Write a time for people, in the zone of this machine."""
    if not isinstance(value, str):
        return plain(value)
    try:
        return datetime.fromisoformat(value).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return value


_GOOD = frozenset({"active", "delivered", "ok", "right", "signing", "created", "unchanged"})
_BAD = frozenset({"suspended", "bounced", "fail", "wrong", "missing", "failed", "failing"})
_BUSY = frozenset(
    {"deferred", "held", "receive-only", "pending", "paused", "warn", "waiting", "unknown"}
)


def state_style(value: object) -> str:
    """Return the colour of a state."""
    text = str(value)
    return (
        "green" if text in _GOOD else "red" if text in _BAD else "yellow" if text in _BUSY else ""
    )


def _cell(column: Column, value: object) -> Text:
    show = column.show or (moment if column.field.endswith("_at") else plain)
    style = column.style or (state_style if column.field in ("state", "status") else None)
    return Text(harmless(show(value)), style=style(value) if style else "")


def harmless(text: str, allowed: str = "") -> str:
    """Replace control characters and changes of direction, except those in ``allowed``."""
    return "".join(each if each in allowed or not _HARMFUL.match(each) else "�" for each in text)
