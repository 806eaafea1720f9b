"""An environment that holds the settings of a test alone."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

from posthorn.runtime.env_settings import PREFIX


def set_only(patch: pytest.MonkeyPatch, settings: Mapping[str, str]) -> None:
    """Have the environment hold these settings, named without their prefix, and no others."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        patch.delenv(name)
    for name, value in settings.items():
        patch.setenv(f"{PREFIX}{name}", value)
