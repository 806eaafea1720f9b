"""What the chart says of wrong values, asked of many of them at once: to read the schema or the
templates costs more than to look at a value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import helm_python

from tests.chart.rendering import Object, at, chart, merged, render


class Faults:
    """What the schema says of values, each at its path and refused for its own sake."""

    def __init__(self, cases: Sequence[tuple[str, object]]) -> None:
        self._said: list[tuple[str, object, list[tuple[str, str]]]] = []
        for batch in apart([{tuple(path.split("."))} for path, _ in cases]):
            try:
                chart().validate_schema(merged(*(at(*cases[number]) for number in batch)))
            except helm_python.HelmValuesError as refusal:
                said = re.findall(r"- at '([^']*)': (.*)", str(refusal))
            else:
                said = []
            self._said += [(*cases[number], said) for number in batch]

    def of(self, path: str, value: object) -> list[str]:
        """Return what is said of the value at the path with dots, or of what is in it, or that
        there is no such path."""
        said = next(said for *case, said in self._said if case == [path, value])
        place = "/" + path.replace(".", "/")
        return [message for where, message in said if _is_about(place, where, message)]


def _is_about(place: str, where: str, message: str) -> bool:
    if where == place or where.startswith(f"{place}/"):
        return True
    if not place.startswith(f"{where}/") or not message.startswith("additional properties "):
        return False
    return f"'{place.removeprefix(f'{where}/').partition('/')[0]}'" in message


def said_by_the_guard(cases: Sequence[Object], *, depth: int) -> list[str]:
    """Return, for each of the values, what the guard says of them and of others that have no key
    in common with them, looking at so many levels of keys."""
    found = [""] * len(cases)
    for batch in apart([set(_paths(case, depth)) for case in cases]):
        try:
            render(merged(*(cases[number] for number in batch)))
        except helm_python.HelmError as refusal:
            for number in batch:
                found[number] = str(refusal)
    return found


def apart(cases: Sequence[set[tuple[str, ...]]]) -> list[list[int]]:
    """Put the numbers of cases together whose paths are neither the same nor within each other."""
    batches: list[tuple[set[tuple[str, ...]], list[int]]] = []
    for number, paths in enumerate(cases):
        for taken, batch in batches:
            if not any(mine[: len(its)] == its[: len(mine)] for mine in paths for its in taken):
                taken |= paths
                batch.append(number)
                break
        else:
            batches.append((set(paths), [number]))
    return [batch for _, batch in batches]


def _paths(values: Object, depth: int) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        if isinstance(value, dict) and value and depth > 1:
            for below in _paths(value, depth - 1):
                yield (key, *below)
        else:
            yield (key,)
