"""Entry point of the IMAP service."""

from __future__ import annotations

from posthorn.runtime.process import serve
from posthorn_imap.composition import start
from posthorn_imap.settings import ImapSettings


def main() -> None:
    """Run the service: the script ``posthorn-imap``."""
    serve("imap", ImapSettings.load(), start)
