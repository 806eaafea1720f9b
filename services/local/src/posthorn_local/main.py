"""The command ``posthorn-local``."""

from __future__ import annotations

import argparse

from posthorn_local.addresses import choose_ports
from posthorn_local.announcement import HELP, SETTINGS
from posthorn_local.embedded import end_with_parent
from posthorn_local.home import Home
from posthorn_local.settings import LocalSettings
from posthorn_local.supervisor import Supervisor


def main() -> None:
    """Read the command line and the environment, then run until a signal."""
    parser = argparse.ArgumentParser(
        "posthorn-local",
        description=HELP,
        epilog=SETTINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--with-parent",
        action="store_true",
        help="stop when the process that started this one ends",
    )
    if parser.parse_args().with_parent:
        end_with_parent()
    settings = LocalSettings.load()
    home = Home(settings.home)
    raise SystemExit(Supervisor(settings, home, choose_ports(settings)).run())


if __name__ == "__main__":
    main()
