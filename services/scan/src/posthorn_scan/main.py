"""The script ``posthorn-scan``."""

from __future__ import annotations

from posthorn.runtime.process import serve
from posthorn_scan.composition import start
from posthorn_scan.settings import ScanSettings


def main() -> None:
    """Run the service."""
    serve("scan", ScanSettings.load(), start)
