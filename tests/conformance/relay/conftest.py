"""Fixtures of the relay's conformance tests."""

from __future__ import annotations

import pytest

from tests.support.scripted_smtp import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))
