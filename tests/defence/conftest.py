"""Everything here needs engines and name servers of Debian's packages: ``make defence``."""

from __future__ import annotations

import pytest

_HERE = "tests/defence/"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, and give them time: rspamd's first start takes long."""
    for item in items:
        if item.nodeid.startswith(_HERE):
            item.add_marker(pytest.mark.defence)
            item.add_marker(pytest.mark.timeout(400))
