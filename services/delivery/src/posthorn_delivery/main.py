"""Composition root of the delivery service."""

from __future__ import annotations

from posthorn.runtime.process import Process, serve
from posthorn_delivery.composition import compose
from posthorn_delivery.settings import DeliverySettings


def main() -> None:
    """Run the service."""
    settings = DeliverySettings.load()

    async def start(process: Process) -> None:
        await compose(process, settings)

    serve("delivery", settings, start)
