"""How the collector is told to go about its work."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from posthorn.runtime.settings import EnvSettings, Seconds


class CollectorSettings(EnvSettings):
    """When blobs go. The lower limits keep it from taking what delivery or a reader still uses; times are in seconds."""

    collector_interval: Seconds = 300.0
    """Between two rounds; of all delivery processes one collects."""
    collector_live_share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """A segment of whose octets at most this share is live is written anew without the dead ones."""
    collector_rewrite_age: Annotated[float, Field(ge=0)] = 600.0
    """A segment younger than this is not written anew: more of it may die soon."""
    collector_grace: Annotated[float, Field(ge=1000)] = 1800.0
    """From the last reference to a segment until its blob goes. Readers may be at it still, and delivery may place messages in a
    segment for up to 900 s after it wrote it."""
    collector_orphan_age: Annotated[float, Field(ge=1800)] = 3600.0
    """A blob that no segment names is an orphan when it is older than this."""
    collector_orphan_most: Annotated[int, Field(ge=0)] = 100
    """A search that finds more orphans than this, and more than the share, moves none of them, and an alert rings."""
    collector_orphan_most_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """The share of all blobs that may be orphans, where that is more than ``collector_orphan_most``."""
    collector_trash_seconds: Annotated[float, Field(ge=86_400)] = 604_800.0
    """How long orphans lie under ``trash/`` before they are deleted; meanwhile they come back if a segment names them after all."""
    collector_removal_most: Annotated[int, Field(ge=0)] = 1000
    """When more segments that had lived for a day would be removed than this, and than the share, they stay; an alert rings."""
    collector_removal_most_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    """The share of all segments older than a day that may go in one round, where that is more than ``collector_removal_most``."""
    collector_orphan_interval: Seconds = 21_600.0
    """Between two searches for orphans, which list the whole store."""
    collector_forget_age: Annotated[float, Field(ge=86_400)] = 604_800.0
    """From placing to forgetting the id of a message that nobody has any more; a redelivery later than that would be placed."""
    collector_batch: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Segments handled at a time."""
    retention_interval: Seconds = 3600.0
    """Between two rounds that delete what domains keep no longer, and drop deleted mail that cannot be brought back any more."""
    retention_most: Annotated[int, Field(ge=1)] = 10_000
    """Entries that one round may delete, and drop, unless the share is more; the next round goes on, an alert rings meanwhile."""
    retention_most_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """The share of all mailbox entries that one round may delete, where that is more than ``retention_most``."""
    retention_batch: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Entries in one transaction of such a round."""
