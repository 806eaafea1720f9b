"""Settings of the collector and of retention."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from posthorn.runtime.env_settings import EnvSettings, Seconds


class CollectorSettings(EnvSettings):
    """When blobs are removed. The lower limits protect what delivery or a reader still uses."""

    collector_interval_seconds: Seconds = 300.0
    """Between two rounds; one delivery process at a time collects."""
    collector_live_share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """A segment of whose bytes at most this share is live is rewritten without the dead ones."""
    collector_rewrite_age_seconds: Annotated[float, Field(ge=0)] = 600.0
    """A segment younger than this is not rewritten: more of it may be deleted soon."""
    collector_erase_seconds: Annotated[float, Field(ge=86_400)] = 2_592_000.0
    """A segment older than this that has any dead bytes is rewritten without them, however much of it
    is live: what is deleted is gone after this time. It rewrites a segment once in that time at
    most."""
    collector_grace_seconds: Annotated[float, Field(ge=1000)] = 1800.0
    """From the last reference to a segment until its blob is deleted. Readers may still use it,
    and delivery may refer to a segment for up to 900 s after it was written."""
    collector_orphan_age_seconds: Annotated[float, Field(ge=1800)] = 3600.0
    """A blob that no segment names is an orphan when it is older than this."""
    collector_orphan_most: Annotated[int, Field(ge=0)] = 100
    """A search that finds more orphans than this, and more than the share, moves none of them
    and raises an alert."""
    collector_orphan_most_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """The share of all blobs that may be orphans, where that is more than
    ``collector_orphan_most``."""
    collector_trash_seconds: Annotated[float, Field(ge=86_400)] = 604_800.0
    """How long orphans stay under ``trash/`` before they are deleted; until then they are moved
    back if a segment names them."""
    collector_removal_most: Annotated[int, Field(ge=0)] = 1000
    """When more segments older than a day would be removed than this, and than the share, they
    stay and an alert is raised."""
    collector_removal_most_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    """The share of all segments older than a day that one round may remove, where that is more
    than ``collector_removal_most``."""
    collector_orphan_interval_seconds: Seconds = 21_600.0
    """Between two searches for orphans, which list the whole store."""
    collector_forget_age_seconds: Annotated[float, Field(ge=86_400)] = 604_800.0
    """From delivery to deletion of the id of a message that is in no mailbox; a redelivery after
    that would be delivered again."""
    collector_batch: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Segments handled at a time."""
    quarantine_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """How long copies stay in quarantine, counted from delivery. For copies withheld from now
    on."""
    retention_interval_seconds: Seconds = 3600.0
    """Between two rounds that delete mail past its domain's retention and purge deleted mail
    past its undelete period."""
    retention_most: Annotated[int, Field(ge=1)] = 10_000
    """Entries that one round may delete, and purge, unless the share is more; the next round
    continues, and an alert is raised."""
    retention_most_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """The share of all mailbox entries that one round may delete, where that is more than
    ``retention_most``."""
    retention_batch: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Entries in one transaction of such a round."""
