"""Pictures of the console: ``make screenshots``.

The main screens on a desk go to ``docs/console``, where ``index.md`` shows them. Every screen, light
and dark, 320 and 1440 pixels wide, goes to ``build/screenshots``, to be looked at.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.console.conftest import chromium, sign_in_by_key
from tests.console.stock import stock
from tests.console.test_account_holder import ADDRESS, TABS, sign_in
from tests.console.test_screens import LOOKS, SCREENS
from tests.console.watching import settle
from tests.support.sink import Sink
from tests.support.system import System, await_that

ROOT = Path(__file__).parents[2]
SHOWN = ROOT / "docs/console"
ALL = ROOT / "build/screenshots"
HEIGHT = 900
MAIN = {
    "home": "/console/",
    "find": "/console/find",
    "message": "/console/messages/{deferred}",
    "queue": "/console/queue",
    "domains": "/console/domains",
    "dns": "/console/domains/example.test",
    "accounts": "/console/accounts?domain=example.test",
    "account": "/console/accounts/careful@example.test?tab=passwords",
    "quarantine": "/console/quarantine",
    "withheld": "/console/quarantine/{quarantined}",
    "configuration": "/console/configuration",
    "audit": "/console/audit",
    "system": "/console/system",
}
"""The screens that the documentation shows: the address of each by its file's name."""
OWN = "me"
"""The picture of an account holder's own screen."""
FURTHER = {"/console/messages/{deferred}": "Message", "/console/messages/{bounced}": "Message"}


def main() -> int:
    """Start a system, fill it, and take the pictures."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        posthorn = System(Path(folder) / "home")
        refused = {
            "busy": "451 4.7.1 Greylisted, please try again in five minutes",
            "gone": "550 5.1.1 No such user here",
        }
        sink = Sink(refused)
        sink.start()
        browser = chromium(playwright)
        try:
            posthorn.start()
            ids = stock(posthorn) | day(posthorn, sink)
            take_main(browser, posthorn, ids)
            if "--main" not in sys.argv:
                take_all(browser, posthorn, ids)
        finally:
            browser.close()
            posthorn.close()
            sink.stop()
    size = sum(path.stat().st_size for path in SHOWN.glob("*.png"))
    print(f"{SHOWN}: {size / 1024:.0f} KiB; {ALL}")
    return 0


def day(posthorn: System, sink: Sink) -> dict[str, str]:
    """Send mail that is delivered, deferred, bounced and refused. Return the ids of two
    messages."""
    for address, quota in (("carol", 5), ("dave", 1), ("erin", None)):
        account: dict[str, object] = {
            "address": f"{address}@example.test",
            "password": "a password for tests",
            "quota_bytes": quota and quota * 2**30,
        }
        assert posthorn.api.post("/v1/accounts", json=account).status_code == 201
    posthorn.api.post("/v1/domains", json={"name": "example.com"})
    posthorn.api.patch("/v1/domains/example.test", json={"account_forwards": 2})
    route = {"domain": "partner.example", "host": "127.0.0.1", "port": sink.port, "tls": "none"}
    assert posthorn.api.post("/v1/routes", json=route).status_code == 201
    for domain in ("example.test", "example.com"):
        posthorn.api.get(f"/v1/domains/{domain}/dns/check")
    ids = {}
    for subject, recipient in (
        ("Invoice 2036-114", "carol@example.test"),
        ("Minutes of Monday", "team@example.test"),
        ("Your order has left our house", "dave@example.test"),
        ("Offer for the new office", "sales@partner.example"),
        ("Contract for signature", "busy@partner.example"),
        ("Season's greetings", "gone@partner.example"),
        ("Invitation", "someone@nowhere.example"),
    ):
        wish = {"from": "alice@example.test", "to": [recipient], "subject": subject, "text": "Hi."}
        answer = posthorn.api.post("/v1/send", json=wish)
        assert answer.status_code == 202, answer.text
        ids[recipient.partition("@")[0]] = answer.json()["id"]
    with posthorn.smtp() as session:
        session.helo("mx.stranger.example")
        session.mail("news@stranger.example")
        for name in ("nobody", "info", "nobody2"):
            session.rcpt(f"{name}@example.test")
    posthorn.send(
        b"From: News <news@stranger.example>\r\nTo: bob@example.test\r\nSubject: This week\r\n\r\nNews.\r\n",
        "bob@example.test",
        sender="news@stranger.example",
    )
    for name, outcome in (("busy", "deferred"), ("gone", "bounced")):
        trace = f"/v1/messages/{ids[name]}/trace"
        await_that(outcome, lambda: outcome in posthorn.api.get(trace).text)  # noqa: B023
    return {"deferred": ids["busy"], "bounced": ids["gone"]}


def take_main(browser: Browser, posthorn: System, ids: dict[str, str]) -> None:
    """Take the pictures of the documentation."""
    page = _page(browser, posthorn)
    SHOWN.mkdir(exist_ok=True)
    for name, path in MAIN.items():
        _show(page, path.format_map(ids))
        page.screenshot(path=SHOWN / f"{name}.png")
    page.context.close()
    page = _new_page(browser, posthorn)
    sign_in(page, ADDRESS)
    settle(page)
    page.screenshot(path=SHOWN / f"{OWN}.png")
    page.context.close()


def take_all(browser: Browser, posthorn: System, ids: dict[str, str]) -> None:
    """Take the pictures of all screens, whole pages."""
    shutil.rmtree(ALL, ignore_errors=True)
    page = _page(browser, posthorn)
    for path in [*SCREENS, *FURTHER]:
        _take(page, path, ids)
    page.context.close()
    page = _new_page(browser, posthorn)
    sign_in(page, ADDRESS)
    for tab in TABS:
        _take(page, f"/console/me{tab}", ids)
    page.context.close()


def _take(page: Page, path: str, ids: dict[str, str]) -> None:
    name = re.sub(r"\W+", "-", path.removeprefix("/console/")).strip("-") or "home"
    _show(page, path.format_map(ids))
    for scheme, width in LOOKS:
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.set_viewport_size({"width": width, "height": HEIGHT})
        folder = ALL / f"{scheme}-{width}"
        page.screenshot(path=folder / f"{name}.png", full_page=True)
    page.emulate_media(color_scheme="light")


def _page(browser: Browser, posthorn: System) -> Page:
    page = _new_page(browser, posthorn)
    sign_in_by_key(page, posthorn.key)
    return page


def _new_page(browser: Browser, posthorn: System) -> Page:
    context = browser.new_context(
        base_url=f"http://127.0.0.1:{posthorn.ports['API']}",
        viewport={"width": 1440, "height": HEIGHT},
        reduced_motion="reduce",
    )
    return context.new_page()


def _show(page: Page, path: str) -> None:
    page.goto(path)
    page.get_by_role("heading", level=1).wait_for()
    settle(page)


if __name__ == "__main__":
    sys.exit(main())
