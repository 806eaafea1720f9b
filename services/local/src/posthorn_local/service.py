"""What the process of a service runs in local mode: the service's own ``main``, loaded with less
work.

Nothing that is loaded is garbage, so none is looked for meanwhile. Rich comes with the command line;
structlog and httpx load it wherever it is installed, which is a tenth of a start, and the images of
the services do not hold it.
"""

from __future__ import annotations

import gc
import importlib
import sys
from types import ModuleType


def run(module: str) -> None:
    """Run a program until its end, such as ``posthorn_smtp_in.main``."""
    load(module).main()


def load(module: str) -> ModuleType:
    """Import a module."""
    sys.modules["rich"] = None  # type: ignore[assignment]
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        gc.enable()
