"""Training: lessons that owners' classifications are, and the models that learn them.

Rules:

- Only what an owner says is learned, never a verdict of ours.
- A message is learned by the model of the account and by that of its tenant, no other.
- What was taught is kept as tokens for ``KEPT_DAYS``, so that it can be taken back. After that the
  classification is forgotten and what was taught stays.
- Every method raises Unavailable for faults of the store.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from uuid import UUID

from posthorn.model.blob_range import BodyLocation
from posthorn.model.classification import Classification
from posthorn.wire.spam.bayes import EMPTY, BayesModel

KEPT_DAYS = 90
"""Days after a classification for which it can be taken back."""


@dataclass(frozen=True, slots=True)
class DueLesson:
    """A classification that is not learned yet."""

    account: int
    tenant: UUID
    message: UUID
    wanted: Classification
    taught: Classification
    """What is to be taken back first."""
    tokens: bytes | None
    """The encoded tokens that were taught (``wire.spam.tokens``)."""
    attempts: int
    location: BodyLocation | None
    """None: the message was deleted meanwhile."""


class PreparedLesson(NamedTuple):
    """A lesson with the tokens of its message."""

    due: DueLesson
    tokens: tuple[int, ...] | None
    """Tokens to learn; None: there is nothing to learn, and the classification is forgotten."""


class SpamModels(NamedTuple):
    """The models that concern an account."""

    account: BayesModel = EMPTY
    tenant: BayesModel = EMPTY


class Training(Protocol):
    """What the trainer works on. Each instance is a candidate for the lease."""

    async def lead(self, seconds: float) -> bool:
        """Become or stay the only trainer for so many seconds; False while another one is."""
        ...

    async def due(self, limit: int) -> Sequence[DueLesson]:
        """Return lessons that are due, those due longest first."""
        ...

    async def teach(self, tenant: UUID, lessons: Sequence[PreparedLesson]) -> int:
        """Teach lessons of one tenant in one transaction: what was taught is taken back, the new
        lesson learned, the classification closed. Those that changed meanwhile are left as they
        are. Returns the number of lessons closed."""
        ...

    async def postpone(self, lesson: DueLesson, seconds: float | None) -> None:
        """Try a lesson again after so many seconds; None: give it up until it is classified
        again."""
        ...

    async def forget(self, limit: int) -> int:
        """Delete classifications older than ``KEPT_DAYS``; return how many."""
        ...


class Bayes(Protocol):
    """The models, for scoring."""

    async def models(self, accounts: Collection[int]) -> Mapping[int, SpamModels]:
        """Return the models of those accounts for which at least one has learned enough to give
        points."""
        ...
