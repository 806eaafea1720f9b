"""Composition root: ``posthorn-api`` serves, ``posthorn-api rebuild-directory`` writes the directory anew."""

from __future__ import annotations

import sys

from posthorn.runtime.process import serve
from posthorn_api.composition import start
from posthorn_api.rebuild import rebuild_directory
from posthorn_api.settings import ApiSettings


def main() -> None:
    """Run the API, or one of its commands."""
    match sys.argv[1:]:
        case []:
            serve("api", ApiSettings.load(), start)
        case ["rebuild-directory"]:
            rebuild_directory(ApiSettings.load())
        case _:
            raise SystemExit("usage: posthorn-api [rebuild-directory]")
