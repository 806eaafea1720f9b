"""The Bayes filter: how often each token was seen in spam and in ham, and what follows for a
message (Robinson's estimate of a token, Fisher's combination of them).

Theory. A token's estimate is the share of spam among the messages with it, as if spam and ham were
equally many, drawn towards a prior as long as it was seen seldom. The prior of an account's model
is the estimate of its tenant's model, whose own is one half; so an account that taught little
decides as its tenant, one that taught much as it says itself. The strongest tokens are combined:
``spamminess`` is near 1 for spam, near 0 for ham, near one half where evidence lacks or conflicts.

Rules:

- Points grow with what was taught: none below 50 spam and 50 ham, 2 at most to 200 and 200, 4 to
  1,000 messages in all, and only beyond enough to cross the Junk threshold alone. Little training
  makes false positives.
- A model holds ``MOST_TOKENS`` at most; tokens seen once go first.
- All counts are halved before one exceeds its limit, so that what was taught long ago fades.
- Models do not change; ``taught`` returns another. Undoing a lesson is exact until counts were
  halved or tokens forgotten, and never makes a count negative.
"""

from __future__ import annotations

import itertools
import math
import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from posthorn.wire.spam.tokens import VERSION

MOST_TOKENS: Final = 50_000
"""Tokens of a model."""
MOST_STRONGEST: Final = 150
"""Tokens of a message that decide."""
LEAST_TAUGHT: Final = 50
"""Messages of spam, and of ham, below which a model gives no points."""
SOME_TAUGHT: Final = 200
MUCH_TAUGHT: Final = 1000
"""Messages in all from which a model may cross the Junk threshold alone."""
FEW_POINTS: Final = 2.0
SOME_POINTS: Final = 4.0
MUCH_POINTS: Final = 7.0
_SURE = 0.9  # spamminess from which points are given, or below its complement taken
_CERTAIN = 0.995  # from which all of them are
_STRENGTH = 0.45  # weight of the prior, in messages
_LEAST_DEVIATION = 0.1  # of an estimate from one half, for a token to count
_CLOSEST = 1e-4  # to 0 and 1 that an estimate comes
_KEPT = 0.9  # share of MOST_TOKENS that stays when some are forgotten
_MOST_COUNT = 60_000
_HEADER = struct.Struct("<BIII")


class BayesError(ValueError):
    """The bytes are no model of this version."""


class Lesson(NamedTuple):
    """A message that was classified."""

    tokens: Sequence[int]
    is_spam: bool
    is_undone: bool = False
    """Whether the lesson was given before and is taken back."""


@dataclass(frozen=True, slots=True)
class BayesModel:
    """What a scope was taught. The arrays are parallel, sorted by token."""

    spam: int = 0
    """Messages of spam."""
    ham: int = 0
    tokens: array[int] = field(default_factory=lambda: array("Q"))
    in_spam: array[int] = field(default_factory=lambda: array("H"))
    in_ham: array[int] = field(default_factory=lambda: array("H"))

    def counts(self, token: int) -> tuple[int, int]:
        """Return in how many messages of spam and of ham a token was."""
        place = bisect_left(self.tokens, token)
        if place < len(self.tokens) and self.tokens[place] == token:
            return self.in_spam[place], self.in_ham[place]
        return 0, 0

    @property
    def most_points(self) -> float:
        """How many points it may give or take."""
        least = min(self.spam, self.ham)
        if least < LEAST_TAUGHT:
            return 0.0
        if least < SOME_TAUGHT:
            return FEW_POINTS
        return SOME_POINTS if self.spam + self.ham < MUCH_TAUGHT else MUCH_POINTS

    def taught(self, lessons: Iterable[Lesson]) -> BayesModel:
        """Return the model with further lessons."""
        held = {
            token: [spam, ham]
            for token, spam, ham in zip(self.tokens, self.in_spam, self.in_ham, strict=True)
        }
        totals = [self.spam, self.ham]
        fresh: set[int] = set()
        for tokens, is_spam, is_undone in lessons:
            which, step = (0 if is_spam else 1), (-1 if is_undone else 1)
            totals[which] = max(0, totals[which] + step)
            for token in set(tokens):
                counts = held.setdefault(token, [0, 0])
                counts[which] = max(0, counts[which] + step)
                fresh.add(token)
            if totals[which] >= _MOST_COUNT:
                totals = [count // 2 for count in totals]
                for counts in held.values():
                    counts[:] = counts[0] // 2, counts[1] // 2
        held = {token: counts for token, counts in held.items() if any(counts)}
        return _frozen(totals, _bounded(held, fresh))


def _bounded(held: dict[int, list[int]], fresh: set[int]) -> dict[int, list[int]]:
    """Forget tokens if there are too many: those seen seldom first, of equal ones those that were
    not taught just now, and then by their hashes, which is at random."""
    if len(held) <= MOST_TOKENS:
        return held
    order = sorted(held, key=lambda token: (-sum(held[token]), token not in fresh, token))
    return {token: held[token] for token in order[: int(MOST_TOKENS * _KEPT)]}


def _frozen(totals: Sequence[int], held: dict[int, list[int]]) -> BayesModel:
    tokens = sorted(held)
    most = 0xFFFF
    return BayesModel(
        totals[0],
        totals[1],
        array("Q", tokens),
        array("H", [min(held[token][0], most) for token in tokens]),
        array("H", [min(held[token][1], most) for token in tokens]),
    )


EMPTY: Final = BayesModel()
"""A model that was taught nothing."""


def encode_model(model: BayesModel) -> bytes:
    """Return a model as bytes, column by column, so that they compress well."""
    columns = (model.tokens, model.in_spam, model.in_ham)
    return _HEADER.pack(VERSION, model.spam, model.ham, len(model.tokens)) + b"".join(
        _little(column).tobytes() for column in columns
    )


def decode_model(octets: bytes) -> BayesModel:
    """Return the model that bytes hold. Raises BayesError; of another version of tokens too."""
    if len(octets) < _HEADER.size:
        raise BayesError("too short for a model")
    version, spam, ham, count = _HEADER.unpack_from(octets)
    if version != VERSION or count > MOST_TOKENS or len(octets) != _HEADER.size + 12 * count:
        raise BayesError("not a model of this version")
    tokens, in_spam, in_ham = array("Q"), array("H"), array("H")
    at = _HEADER.size
    for column in (tokens, in_spam, in_ham):
        end = at + column.itemsize * count
        column.frombytes(octets[at:end])
        at = end
    tokens, in_spam, in_ham = _little(tokens), _little(in_spam), _little(in_ham)
    if any(first >= second for first, second in itertools.pairwise(tokens)):
        raise BayesError("the tokens are not in order")
    return BayesModel(spam, ham, tokens, in_spam, in_ham)


def _little(column: array[int]) -> array[int]:
    """Return a column in little-endian order, or from it."""
    if sys.byteorder == "little":
        return column
    swapped = column[:]
    swapped.byteswap()
    return swapped


def spamminess(tokens: Iterable[int], account: BayesModel, tenant: BayesModel = EMPTY) -> float:
    """Return how much a message is like spam, from 0 to 1; one half without evidence."""
    estimates = []
    for token in tokens:
        estimate = _estimate(token, account, _estimate(token, tenant, 0.5))
        if abs(estimate - 0.5) >= _LEAST_DEVIATION:
            estimates.append(min(max(estimate, _CLOSEST), 1 - _CLOSEST))
    estimates.sort(key=lambda each: -abs(each - 0.5))
    del estimates[MOST_STRONGEST:]
    if not estimates:
        return 0.5
    like_spam = _chi_square(-2 * sum(math.log(1 - each) for each in estimates), len(estimates))
    like_ham = _chi_square(-2 * sum(math.log(each) for each in estimates), len(estimates))
    return (1 + like_ham - like_spam) / 2


def bayes_points(spam_like: float, account: BayesModel, tenant: BayesModel = EMPTY) -> float:
    """Return the points of a message of that spamminess: none where it is in doubt, and no more
    than what was taught permits."""
    most = max(account.most_points, tenant.most_points)
    sure = max(spam_like, 1 - spam_like)
    if sure < _SURE:
        return 0.0
    share = min(1.0, 0.5 + 0.5 * (sure - _SURE) / (_CERTAIN - _SURE))
    return round(math.copysign(most * share, spam_like - 0.5), 2)


def _estimate(token: int, model: BayesModel, prior: float) -> float:
    spam, ham = model.counts(token)
    if not spam + ham:
        return prior
    spam_share = spam / max(model.spam, 1)
    ham_share = ham / max(model.ham, 1)
    share = spam_share / (spam_share + ham_share)
    return (_STRENGTH * prior + (spam + ham) * share) / (_STRENGTH + spam + ham)


def _chi_square(value: float, half_degrees: int) -> float:
    """Return the probability that chi-square with twice ``half_degrees`` degrees of freedom is at
    least that value."""
    half = value / 2
    if half > 700:  # beyond the least number
        return 0.0
    term = total = math.exp(-half)
    for step in range(1, half_degrees):
        term *= half / step
        total += term
    return min(total, 1.0)
