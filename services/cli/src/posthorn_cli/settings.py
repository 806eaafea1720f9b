"""What the environment says, read here and nowhere else; and where the configuration lies."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LOCAL_PORT = 8080
"""The API's port in local mode, unless POSTHORN_API_PORT says otherwise."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The environment's part of the settings. Empty variables count as unset."""

    url: str | None
    """POSTHORN_URL: root of the API."""
    key: str | None
    """POSTHORN_API_KEY."""
    key_file: Path | None
    """POSTHORN_API_KEY_FILE: a file that holds the key, also one that a container system mounts
    for all to read."""
    ca_file: Path | None
    """POSTHORN_CA_FILE: certificates to trust in place of the system's."""
    context: str | None
    """POSTHORN_CONTEXT: name of the context to use."""
    config: Path
    """POSTHORN_CONFIG, or posthorn/config.toml below XDG_CONFIG_HOME or ~/.config."""
    home: Path
    """POSTHORN_HOME: where local mode keeps its state."""
    local_url: str
    """Where local mode's API listens."""
    debug: bool
    """POSTHORN_DEBUG=1 shows tracebacks."""


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the environment; ``environment`` takes its place in tests."""
    found = os.environ if environment is None else environment  # noqa: TID251 - this is the settings module

    def given(name: str) -> str | None:
        return found.get(name, "").strip() or None

    def path(name: str) -> Path | None:
        value = given(name)
        return Path(value).expanduser() if value else None

    home = Path(given("HOME") or "~").expanduser()
    config_home = path("XDG_CONFIG_HOME") or home / ".config"
    port = given("POSTHORN_API_PORT") or ""
    number = (
        int(port) if port.isascii() and port.isdigit() and 0 < int(port) < 65536 else LOCAL_PORT
    )
    return Settings(
        url=given("POSTHORN_URL"),
        key=given("POSTHORN_API_KEY"),
        key_file=path("POSTHORN_API_KEY_FILE"),
        ca_file=path("POSTHORN_CA_FILE"),
        context=given("POSTHORN_CONTEXT"),
        config=path("POSTHORN_CONFIG") or config_home / "posthorn" / "config.toml",
        home=path("POSTHORN_HOME") or Path(".posthorn"),
        local_url=f"http://127.0.0.1:{number}",
        debug=given("POSTHORN_DEBUG") == "1",
    )
