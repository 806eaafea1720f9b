"""One process of several, for tests of ``runtime.workers``; the scene is an override: ``serve``, or
``fail`` at the start."""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

from posthorn.runtime.process import Process, serve
from posthorn.runtime.settings import ProcessSettings
from posthorn.runtime.workers import end_with


async def _start(_: Process[Any]) -> None:
    """Nothing is needed."""


def main() -> None:
    """Run the process."""
    number, descriptor, parent, overrides = sys.argv[1:]
    if json.loads(overrides)["scene"] == "fail":
        raise SystemExit(3)
    end_with(int(parent))
    health = socket.socket(fileno=int(descriptor))
    serve("worker", ProcessSettings(), _start, number=int(number), health=health)


if __name__ == "__main__":
    main()
