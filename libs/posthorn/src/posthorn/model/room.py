"""The room left in a mailbox, in steps so coarse that the directory is rarely updated by a message.

A step is a factor of two. Its upper end is published, so that nothing is refused that would fit; a
mailbox crosses some thirty steps from empty to full, and publishes none above ``_LARGEST``, since
no message is that large. The steps do not begin at powers of two: quotas do, and a mailbox that is
repeatedly emptied must not cross a step each time.
"""

from __future__ import annotations

import math

_SHIFT = 0.7
_LARGEST = 28
"""Step from which nothing is published: 2 ** 28 / _SHIFT bytes."""
_SMALLEST = 4096
"""Bytes up to which all is one step: hardly any message is smaller."""
_SLACK = 1.01
"""Tolerance for different rounding here and in Postgres."""


def room_of(left: int | None) -> int | None:
    """Return the upper end of the step of so many bytes left (None: no limit); None where no
    limit is published."""
    if left is None:
        return None
    step = math.floor(math.log2(max(left, _SMALLEST) * _SHIFT))
    return None if step >= _LARGEST else math.ceil(2.0 ** (step + 1) / _SHIFT * _SLACK)


def step_sql(left: str) -> str:
    """Return the SQL expression for the step of an expression of the bytes left."""
    return f"least(floor(ln(greatest({left}, {_SMALLEST})::float8 * {_SHIFT}) / ln(2::float8)), {_LARGEST})"


def crossed_sql(quota: str, used: str, before: str) -> str:
    """Return the SQL condition for a mailbox having crossed a step, or become full or not full;
    expressions of bytes."""
    return (
        f"(({used} >= {quota}) <> ({before} >= {quota})"
        f" OR {step_sql(f'{quota} - {used}')} <> {step_sql(f'{quota} - ({before})')})"
    )
