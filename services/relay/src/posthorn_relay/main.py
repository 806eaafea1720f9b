"""The script ``posthorn-relay``."""

from __future__ import annotations

from posthorn.runtime.process import serve
from posthorn_relay.composition import start
from posthorn_relay.settings import RelaySettings


def main() -> None:
    """Run the service."""
    serve("relay", RelaySettings.load(), start)
