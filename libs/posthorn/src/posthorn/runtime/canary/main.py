"""The script ``posthorn-canary``."""

from __future__ import annotations

from posthorn.runtime.canary.canary import Canary
from posthorn.runtime.canary.settings import CanarySettings
from posthorn.runtime.process import Process, serve


async def start(process: Process[CanarySettings]) -> None:
    """Run the canary on the process's stack."""
    await process.task(Canary(process.settings).run(), "canary")


def main() -> None:
    """Run the canary."""
    serve("canary", CanarySettings.load(), start)
