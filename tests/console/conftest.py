"""The console in Debian's Chromium, on a system as `make run` starts it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from tests.console.stock import stock
from tests.console.watching import Watched
from tests.support.system import System

PATIENCE_MILLISECONDS = 60_000
"""How long a busy machine may take to show something."""


@pytest.fixture(scope="package")
def posthorn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The local mode, on which mail was sent, refused and deferred."""
    running = System(tmp_path_factory.mktemp("console") / "home")
    running.start()
    yield running
    running.close()


@pytest.fixture(scope="package")
def stocked(posthorn: System) -> dict[str, str]:
    """The ids of objects that the screens show."""
    return stock(posthorn)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium. Playwright runs an event loop in this thread until it is stopped, with which no
    test beside these could run one of its own: so this ends with the package."""
    with sync_playwright() as playwright:
        started = chromium(playwright)
        yield started
        started.close()


def chromium(playwright: Playwright) -> Browser:
    """Start Debian's Chromium."""
    path = shutil.which("chromium")
    assert path, "chromium is not installed: it comes with Debian's package chromium"
    # it refuses to run as root with its sandbox
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=path, args=options)


@pytest.fixture
def page(browser: Browser, posthorn: System) -> Iterator[Page]:
    """A page of a browser in which nobody is signed in; what it must not do fails the test at its
    end."""
    context = browser.new_context(
        base_url=f"http://127.0.0.1:{posthorn.ports['API']}",
        viewport={"width": 1440, "height": 900},
    )
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    opened = context.new_page()
    watched = Watched(opened)
    yield opened
    context.close()
    assert watched.faults == []


@pytest.fixture
def admin(page: Page, posthorn: System) -> Page:
    """A page on which the platform admin is signed in."""
    sign_in_by_key(page, posthorn.key)
    return page


def sign_in_by_key(page: Page, key: str) -> None:
    """Sign in as a person with an API key does."""
    page.goto("/")
    page.get_by_role("radio", name="API key").check()
    page.get_by_label("API key", exact=True).last.fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("navigation", name="Pages").wait_for()
