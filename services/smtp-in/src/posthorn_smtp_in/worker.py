"""One process of several; ``processes`` starts it, with its number, the descriptor of its health
page's listener, the parent's process id and the settings that are its own."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Sequence

from posthorn.runtime.process import serve
from posthorn.runtime.workers import end_with
from posthorn_smtp_in.composition import start
from posthorn_smtp_in.settings import load_settings, service_name


def main(arguments: Sequence[str]) -> None:
    """Run one process of the service."""
    number, descriptor, parent, overrides = arguments
    end_with(int(parent))
    health = socket.socket(fileno=int(descriptor))
    health.setblocking(False)
    settings = load_settings().model_copy(update=json.loads(overrides))
    serve(service_name(settings), settings, start, number=int(number), health=health)


if __name__ == "__main__":
    main(sys.argv[1:])
