"""The console as files: what Vite made of ``services/console/web`` (``make console``).

The API serves them under ``/console/`` where this package is installed. ``files`` beside this module
holds ``index.html`` and the assets, whose names contain a hash of their content.
"""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable


def console_files() -> Traversable | None:
    """Return the folder of the built console, or None in a checkout where it was not built."""
    folder = files(__package__).joinpath("files")
    return folder if folder.joinpath("index.html").is_file() else None
