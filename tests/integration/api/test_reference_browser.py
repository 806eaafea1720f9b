"""The API's reference in a browser: Chromium shows every operation, and its content security
policy is violated by nothing."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from posthorn.adapters.blobs.files import FileBlobs
from tests.support.api import Api, running_api

pytestmark = pytest.mark.interop


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(database_url, FileBlobs(tmp_path / "blobs")) as running:
        yield running


async def rendered(url: str, profile: Path) -> tuple[str, list[str]]:
    """Return a page's DOM once it has loaded, as HTML, and what Chromium wrote to the page's
    console."""
    path = shutil.which("chromium")
    assert path, "chromium is not installed: it comes with Debian's package chromium"
    options = [
        "--headless",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--virtual-time-budget=60000",
        "--dump-dom",
        "--window-size=1440,30000",  # the viewer renders only what a window shows of a long list
    ]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # Chromium refuses to run as root with it
    process = await asyncio.create_subprocess_exec(
        path,
        *options,
        f"--user-data-dir={profile}",
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "HOME": str(profile), "LC_ALL": "C.UTF-8"},
    )
    try:
        async with asyncio.timeout(120):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()[-2000:]
    return output.decode(), re.findall(r":CONSOLE:\d+\] (.*)", errors.decode(errors="replace"))


async def test_every_operation_is_shown_and_nothing_violates_the_policy(
    api: Api, tmp_path: Path
) -> None:
    document: dict[str, Any] = (await api.client.get("/openapi.json")).json()
    page, console = await rendered(f"{api.url}/docs#/Domains/createDomain", tmp_path / "profile")
    assert console == []
    shown = set(re.findall(r'id="operations-(?!tag-)[^"]*-([A-Za-z]+)"', page))
    assert shown == {
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
    }
    assert "opblock-body" in page, "the operation that the address names is open"
    assert "highlight-code" in page, "with its example"


async def test_a_violation_would_be_seen(tmp_path: Path) -> None:
    """The oracle of the test above: a page whose policy forbids its own style says so on the
    console."""
    page = tmp_path / "page.html"
    policy = '<meta http-equiv="Content-Security-Policy" content="style-src \'none\'">'
    page.write_text(f'<!doctype html>{policy}<p style="color:red">red</p>')
    _, console = await rendered(page.as_uri(), tmp_path / "profile")
    assert any("Content Security Policy" in line for line in console)
