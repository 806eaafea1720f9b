"""What the suite is told by the environment. docs/reliability.md explains each."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from deploy.release import version

ROOT = Path(__file__).parents[2]
_PREFIX = "POSTHORN_CLUSTER_"


@dataclass(frozen=True, slots=True)
class Settings:
    """The variables ``POSTHORN_CLUSTER_*``."""

    images: str
    """How images come to the nodes: ``kind``, ``docker`` (the nodes run on this Docker daemon),
    ``push`` (to ``registry``), ``present`` (they are there, or can be pulled), or a command for
    each image, with {archive} (a file of ``docker save``) or {image} in it."""
    registry: str
    """Registry of Posthorn's images, and of the stand-ins with ``push``."""
    tag: str
    """Tag of Posthorn's images."""
    next_tag: str
    """Tag that the upgrade goes to; the same as ``tag``: the parts are replaced by a change of
    values alone."""
    standins: bool
    """Whether stand-ins take the place of the images of Postgres, NATS and Garage."""
    old: bool
    """Whether a Kubernetes older than the chart allows is accepted, with a changed copy of the
    chart. For work on the suite."""
    namespace: str
    rate: float
    """Messages a second."""
    phases: tuple[str, ...]
    """The phases to run, by name; empty, all."""
    values: str
    """A file with values that are put over the suite's own."""
    results: Path
    """The folder that ledger and tables are written to."""
    keep: bool
    """Whether the namespaces stay."""

    @classmethod
    def load(cls) -> Settings:
        """Read the environment."""

        def text(name: str, default: str = "") -> str:
            return os.environ.get(_PREFIX + name, "") or default

        tag = text("TAG", version())
        return cls(
            images=text("IMAGES", "kind"),
            registry=text("REGISTRY", "ghcr.io"),
            tag=tag,
            next_tag=text("NEXT_TAG", tag),
            standins=text("STANDINS") in ("1", "true", "yes"),
            old=text("OLD") in ("1", "true", "yes"),
            namespace=text("NAMESPACE", "posthorn-cluster"),
            rate=float(text("RATE", "20")),
            phases=tuple(text("PHASES").replace(",", " ").split()),
            values=text("VALUES"),
            results=Path(text("RESULTS", str(ROOT / ".cache" / "cluster"))),
            keep=text("KEEP") in ("1", "true", "yes"),
        )
