"""Composition root: ``posthorn-api`` serves; with a word behind it, it does one of the commands
of an operator."""

from __future__ import annotations

import sys

from posthorn.runtime.process import serve
from posthorn_api.adopt import adopt, release_brakes, show_installation
from posthorn_api.composition import start
from posthorn_api.directory.rebuild import rebuild_directory
from posthorn_api.settings import ApiSettings

_USAGE = """usage: posthorn-api [COMMAND]

  rebuild-directory            write the directory bucket anew from Postgres
  installation                 show to which installation Postgres, blob store and directory bucket belong
  adopt --installation ID      take blob store and directory bucket over for the database, which is installation ID now
  release-brakes [HOURS]       let the brakes on deletion go for some hours (1)"""


def main() -> None:
    """Run the API, or one of its commands."""
    match sys.argv[1:]:
        case []:
            serve("api", ApiSettings.load(), start)
        case ["rebuild-directory"]:
            rebuild_directory(ApiSettings.load())
        case ["installation"]:
            show_installation(ApiSettings.load())
        case ["adopt", "--installation", installation]:
            adopt(ApiSettings.load(), installation)
        case ["release-brakes"]:
            release_brakes(ApiSettings.load(), "1")
        case ["release-brakes", hours]:
            release_brakes(ApiSettings.load(), hours)
        case _:
            raise SystemExit(_USAGE)
