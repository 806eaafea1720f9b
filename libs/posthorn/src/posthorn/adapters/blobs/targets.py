"""Where bodies are stored, as the settings say it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr


@dataclass(frozen=True, slots=True)
class FileTarget:
    """A local directory."""

    root: Path


@dataclass(frozen=True, slots=True)
class S3Target:
    """The bucket, its server, and the login."""

    endpoint: str
    """``host`` or ``host:port``."""
    bucket: str
    prefix: str = ""
    """Prefix of every key, joined with a slash; empty for none."""
    region: str | None = None
    """None: query the store."""
    tls: bool = True
    access_key: str | None = None
    secret_key: SecretStr | None = None
    """Without keys: AWS's environment variables, its credentials file, or the role of the pod or
    machine."""
