"""Composition root of the relay."""

from __future__ import annotations

from posthorn.runtime.process import Process, serve
from posthorn_relay.composition import compose
from posthorn_relay.settings import RelaySettings


def main() -> None:
    """Run the service: the script ``posthorn-relay``."""
    settings = RelaySettings.load()

    async def start(process: Process) -> None:
        await compose(process, settings)

    serve("relay", settings, start)
