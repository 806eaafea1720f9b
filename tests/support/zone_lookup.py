"""Sender authentication's DNS questions answered from a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address

from posthorn.wire.auth.lookup import DnsUnavailable

type Row = Sequence[str | int]
"""Type and data: ``("TXT", "v=spf1 -all")``, ``("MX", 10, "mx.test")``, ``("CNAME", "b.test")``.
``("TIMEOUT",)``: what the name has no other row for is not answered."""


class ZoneLookup:
    """The port Lookup on a table of names; ``asked`` has the questions in their order."""

    def __init__(self, zone: Mapping[str, Sequence[Row]]) -> None:
        self._zone = {name.lower().rstrip("."): rows for name, rows in zone.items()}
        self.asked: list[tuple[str, str]] = []

    async def texts(self, name: str) -> Sequence[bytes] | None:
        rows = self._rows(name, "TXT")
        return None if rows is None else [str(row[1]).encode() for row in rows]

    async def addresses(self, name: str, *, v6: bool) -> Sequence[str] | None:
        rows = self._rows(name, "AAAA" if v6 else "A")
        return None if rows is None else [str(row[1]) for row in rows]

    async def exchangers(self, name: str) -> Sequence[tuple[int, str]] | None:
        rows = self._rows(name, "MX")
        if rows is None:
            return None
        return sorted((int(row[1]), str(row[2]).lower().rstrip(".")) for row in rows)

    async def names(self, address: str) -> Sequence[str] | None:
        rows = self._rows(ip_address(address).reverse_pointer, "PTR")
        return None if rows is None else [str(row[1]).lower().rstrip(".") for row in rows]

    def _rows(self, name: str, kind: str, depth: int = 0) -> Sequence[Row] | None:
        name = name.lower().rstrip(".")
        if not depth:
            self.asked.append((name, kind))
        labels = name.split(".")
        if len(name) > 253 or not all(0 < len(label) < 64 for label in labels):
            return None
        rows = self._zone.get(name)
        if rows is None:
            is_parent = any(other.endswith(f".{name}") for other in self._zone)
            return [] if is_parent else None
        found = [row for row in rows if row[0] == kind]
        alias = next((str(row[1]) for row in rows if row[0] == "CNAME"), None)
        if alias is not None and not found:
            if depth > 8:
                raise DnsUnavailable
            return self._rows(alias, kind, depth + 1)
        if not found and ("TIMEOUT",) in map(tuple, rows):
            raise DnsUnavailable
        return found
