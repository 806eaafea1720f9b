"""Entry point of the POP3 service."""

from __future__ import annotations

from posthorn.runtime.process import serve
from posthorn_pop3.composition import start
from posthorn_pop3.settings import Pop3Settings


def main() -> None:
    """Run the service: the script ``posthorn-pop3``."""
    serve("pop3", Pop3Settings.load(), start)
