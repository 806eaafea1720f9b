"""A running API. A module that needs another one overrides ``api_options`` or ``api``; one that
wants accounts asks for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from posthorn.ports.blobs import Blobs
from tests.support.api import Api, running_api


@pytest.fixture
def api_options() -> dict[str, Any]:
    """Keywords of ``running_api``: none."""
    return {}


@pytest.fixture
async def api(database_url: str, blobs: Blobs, api_options: dict[str, Any]) -> AsyncIterator[Api]:
    """The API over a new database, in which nothing is."""
    async with running_api(database_url, blobs, **api_options) as running:
        yield running


@pytest.fixture
async def domain(api: Api) -> None:
    """The domain example.test."""
    await api.domain()


@pytest.fixture
async def alice(api: Api, domain: None) -> None:
    """The domain example.test, and in it alice."""
    await api.account("alice@example.test")


@pytest.fixture
async def accounts(api: Api, domain: None) -> None:
    """The domain example.test, and in it alice and bob."""
    await api.account("alice@example.test")
    await api.account("bob@example.test")
