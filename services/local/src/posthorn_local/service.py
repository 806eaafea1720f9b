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


def run(module: str) -> None:
    """Run a service until its end, such as ``smtp_in``."""
    gc.disable()
    sys.modules["rich"] = None  # type: ignore[assignment]
    main = importlib.import_module(f"posthorn_{module}.main").main
    gc.enable()
    main()
