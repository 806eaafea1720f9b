"""Rows of chosen tables from a dump of MySQL, MariaDB (``mysqldump``) or Postgres (``pg_dump``), as
text.

The dump is read token by token and nothing of it is executed: what stands in a quoted text is never
taken for a statement. Columns come from the statement, or else from CREATE TABLE.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from posthorn_cli.faults import CommandError

type Row = dict[str, str | None]

_INTRODUCERS: Final = ("_BINARY", "_UTF8MB4", "_UTF8", "E")
"""Words in front of a text."""
_COPY_END = "\\."
_SPACE = re.compile(r"(?:\s+|--[^\n]*|#[^\n]*|/\*.*?\*/)+", re.DOTALL)
_TOKEN = re.compile(
    r"(?P<my>'(?:[^'\\]++|\\.|'')*+')|(?P<name>`[^`]*`|\"[^\"]*\"|[A-Za-z_\u0080-\U0010ffff][\w$]*)"
    r"|(?P<number>[-+]?\d[\w.]*)|(?P<dollar>\$\w*\$)|(?P<sign>.)",
    re.DOTALL,
)
_PLAIN_STRING = re.compile(r"'(?:[^']++|'')*+'")
_MY_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "b": "\b", "Z": "\x1a"}
_COPY_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v"}
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


@dataclass(slots=True)
class _Dump:
    text: str
    tables: Collection[str]
    is_postgres: bool
    at: int = 0
    columns: dict[str, list[str]] = field(default_factory=dict)
    rows: dict[str, list[Row]] = field(default_factory=dict)

    def next(self) -> _Token | None:
        """Read a token; None at the end."""
        if space := _SPACE.match(self.text, self.at):
            self.at = space.end()
        if self.at >= len(self.text):
            return None
        # without E in front, a backslash means nothing in a text of Postgres
        is_escaping = not self.is_postgres or self.text[self.at - 1 : self.at] in ("E", "e")
        if self.text[self.at] == "'" and not is_escaping:
            found = _PLAIN_STRING.match(self.text, self.at)
            if found is None:
                raise self._broken()
            self.at = found.end()
            return _Token("text", found[0][1:-1].replace("''", "'"))
        found = _TOKEN.match(self.text, self.at)
        assert found is not None  # any character is a sign
        self.at = found.end()
        kind, text = found.lastgroup or "sign", found[0]
        if kind == "my":
            plain = text[1:-1].replace("''", "'")
            return _Token(
                "text", _ESCAPED.sub(lambda each: _MY_ESCAPES.get(each[1], each[1]), plain)
            )
        if kind == "name" and text[0] in '`"':
            return _Token("quoted", text[1:-1])
        if kind == "dollar":
            end = self.text.find(text, self.at)
            if end < 0:
                raise self._broken()
            body, self.at = self.text[self.at : end], end + len(text)
            return _Token("text", body)
        if kind == "sign" and text == "'":
            raise self._broken()
        return _Token(kind, text)

    def tokens(self) -> Iterator[_Token]:
        """Yield the tokens of a statement up to its end."""
        while (token := self.next()) is not None and token != _Token("sign", ";"):
            yield token

    def read(self) -> None:
        """Read all statements."""
        while (token := self.next()) is not None:
            if token == _Token("sign", ";"):
                continue
            if token == _Token("sign", "\\"):  # a command of psql, to the end of its line
                self.at = self.text.find("\n", self.at) + 1 or len(self.text)
                continue
            match token.text.upper() if token.kind == "name" else "":
                case "CREATE":
                    self._create(list(self.tokens()))
                case "INSERT" | "REPLACE":
                    self._insert()
                case "COPY":
                    self._copy(list(self.tokens()))
                case _:
                    for _ in self.tokens():
                        pass

    def _create(self, tokens: list[_Token]) -> None:
        texts = [token.text for token in tokens]
        opening = texts.index("(") if "(" in texts else 0
        if not opening or "TABLE" not in [text.upper() for text in texts[:opening]]:
            return
        columns, depth, begins = [], 1, True
        for token in tokens[opening + 1 :]:
            if depth == 1 and begins and token.kind in ("name", "quoted"):
                columns.append((token.kind, token.text))
            begins = depth == 1 and token.text == "," and token.kind == "sign"
            if token.kind == "sign":
                depth += {"(": 1, ")": -1}.get(token.text, 0)
        keys = {"PRIMARY", "KEY", "UNIQUE", "CONSTRAINT", "INDEX", "FULLTEXT", "FOREIGN", "CHECK"}
        self.columns[texts[opening - 1]] = [
            text for kind, text in columns if kind == "quoted" or text.upper() not in keys
        ]

    def _insert(self) -> None:
        stream, table, columns = self.tokens(), "", list[str]()
        for token in stream:
            if token.kind == "sign" and token.text == "(":
                columns = self._names(stream)
            elif token.kind == "name" and token.text.upper() == "VALUES":
                break
            elif token.kind in ("name", "quoted"):
                table = token.text  # the last one: a schema may stand before it
        is_wanted, row, depth = table in self.tables, list[str | None](), 0
        for token in stream:
            if token.kind == "sign" and token.text in "()":
                depth += 1 if token.text == "(" else -1
                if token.text == ")" and depth == 0 and is_wanted:
                    self._add(table, columns, row)
                if depth <= 1:
                    row = []
            elif depth == 1 and is_wanted and token.kind in ("text", "number"):
                row.append(token.text)
            elif depth == 1 and is_wanted and token.kind == "name":
                word = token.text.upper()
                if word not in _INTRODUCERS:
                    row.append(None if word == "NULL" else token.text)

    def _names(self, stream: Iterator[_Token]) -> list[str]:
        names: list[str] = []
        for token in stream:
            if token == _Token("sign", ")"):
                return names
            if token.kind in ("name", "quoted"):
                names.append(token.text)
        raise self._broken()

    def _copy(self, tokens: list[_Token]) -> None:
        texts = [token.text for token in tokens]
        if "(" not in texts or "STDIN" not in texts[-1].upper():
            return
        opening = texts.index("(")
        table = texts[opening - 1]
        columns = [
            token.text
            for token in tokens[opening:]
            if token.kind in ("name", "quoted") and token.text.upper() not in ("FROM", "STDIN")
        ]
        self.at = self.text.find("\n", self.at) + 1 or len(self.text)
        while self.at < len(self.text):
            end = self.text.find("\n", self.at)
            end = len(self.text) if end < 0 else end
            line, self.at = self.text[self.at : end].removesuffix("\r"), end + 1
            if line == _COPY_END:
                return
            if table in self.tables:
                self._add(table, columns, [_copied(cell) for cell in line.split("\t")])

    def _add(self, table: str, columns: list[str], row: list[str | None]) -> None:
        names = columns or self.columns.get(table, [])
        if len(names) != len(row):
            raise CommandError(
                f"a row of the table {table} has {len(row)} values, but the table has {len(names)} columns"
            )
        self.rows.setdefault(table, []).append(dict(zip(names, row, strict=True)))

    def _broken(self) -> CommandError:
        line = self.text.count("\n", 0, self.at) + 1
        return CommandError(f"line {line}: this is no dump in SQL: a text does not end")


def _copied(cell: str) -> str | None:
    if cell == r"\N":
        return None
    return _ESCAPED.sub(lambda found: _COPY_ESCAPES.get(found[1], found[1]), cell)


def read_dump(content: bytes, tables: Collection[str]) -> dict[str, list[Row]]:
    """Return the rows of those of the tables that the dump has. Raises CommandError."""
    text = content.decode("utf-8-sig", "replace")
    is_postgres = "PostgreSQL database dump" in text[:4096] or "\nCOPY " in text
    dump = _Dump(text, tables, is_postgres)
    dump.read()
    if not set(tables) & (set(dump.rows) | set(dump.columns)):
        raise CommandError(
            f"the dump has none of the tables {', '.join(sorted(tables))}: give a dump in SQL text"
        )
    return dump.rows
