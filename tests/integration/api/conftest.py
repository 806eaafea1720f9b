"""A running API with a blob store of its own; a module that needs another one overrides the fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from posthorn.adapters.blobs.files import FileBlobs
from tests.support.api import Api, running_api


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[FileBlobs]:
    """An empty blob store on disk."""
    files = FileBlobs(tmp_path / "blobs")
    await files.open()
    yield files
    files.close()


@pytest.fixture
async def api(database_url: str, blobs: FileBlobs) -> AsyncIterator[Api]:
    """The API over a new database with the accounts alice@example.test and bob@example.test."""
    async with running_api(database_url, blobs) as running:
        await running.domain()
        await running.account("alice@example.test")
        await running.account("bob@example.test")
        yield running
