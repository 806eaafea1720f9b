"""Every screen, light and dark, on a phone and on a desk: axe-core finds nothing, nothing sticks
out, Tab alone reaches everything, and the page does nothing that its policy forbids."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.console.watching import missed_by_tab, settle, sticks_out, violations
from tests.support.system import System

pytestmark = pytest.mark.interop

SCREENS = {
    "/console/": "Home",
    "/console/domains": "Domains",
    "/console/domains?create=true": "Domains",
    "/console/domains/example.test": "example.test",
    "/console/domains/example.test?tab=settings": "example.test",
    "/console/find": "Find messages",
    "/console/find?q=alice%40example.test&outcome=refused&days=7": "Find messages",
    "/console/queue": "Queue",
    "/console/queue?state=held": "Queue",
    "/console/messages/01a22887-062c-7d98-94b6-44d0898ecc87": "Message",
    "/console/accounts": "Accounts",
    "/console/accounts?create=true": "Accounts",
    "/console/accounts?import=true": "Accounts",
    "/console/accounts/careful@example.test": "careful@example.test",
    "/console/accounts/careful@example.test?tab=mailboxes": "careful@example.test",
    "/console/accounts/careful@example.test?tab=passwords": "careful@example.test",
    "/console/accounts/careful@example.test?tab=deleted": "careful@example.test",
    "/console/accounts/careful@example.test?tab=filter": "careful@example.test",
    "/console/accounts/careful@example.test?tab=reads": "careful@example.test",
    "/console/aliases": "Aliases",
    "/console/aliases/team@example.test": "team@example.test",
    "/console/quarantine": "Quarantine",
    "/console/quarantine/{quarantined}": "Withheld message",
    "/console/domains/example.test?tab=dkim": "example.test",
    "/console/domains/example.test?tab=filter": "example.test",
    "/console/domains/example.test?tab=reports": "example.test",
    "/console/routes": "Routes",
    "/console/routes?create=true": "Routes",
    "/console/suppressions": "Suppressions",
    "/console/suppressions?import=true": "Suppressions",
    "/console/keys": "API keys",
    "/console/keys?create=true": "API keys",
    "/console/webhooks": "Webhooks",
    "/console/webhooks?create=true": "Webhooks",
    "/console/webhooks/{webhook}": "Webhook",
    "/console/audit?action=account": "Audit",
    "/console/tenants": "Tenants",
    "/console/tenants?create=true": "Tenants",
    "/console/tenants/north": "north",
    "/console/configuration": "Configuration",
    "/console/defence": "Defence",
    "/console/system": "System",
    "/console/dead-letters": "Parked messages",
    "/console/nothing-here": "No such page",
}
"""The heading of each screen by its address."""


AT_ONCE = 10
"""Screens of one test: each signs in once."""
LOOKS = [(scheme, width) for scheme in ("light", "dark") for width in (320, 1440)]


@pytest.mark.parametrize("first", range(0, len(SCREENS), AT_ONCE))
def test_every_screen_is_accessible(admin: Page, stocked: dict[str, str], first: int) -> None:
    found: dict[str, list[str]] = {}
    for path, heading in [*SCREENS.items()][first : first + AT_ONCE]:
        admin.goto(path.format_map(stocked))
        admin.get_by_role("heading", name=heading, level=1, exact=True).wait_for()
        settle(admin)
        for scheme, width in LOOKS:
            admin.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            admin.set_viewport_size({"width": width, "height": 900})
            faults = [*violations(admin), *(f"sticks out: {each}" for each in sticks_out(admin))]
            if faults:
                found[f"{path} {scheme} {width}"] = faults
        if faults := missed_by_tab(admin):
            found[f"{path} by Tab"] = faults
    assert found == {}


def test_a_row_is_a_card_on_a_phone(admin: Page, stocked: dict[str, str]) -> None:
    admin.set_viewport_size({"width": 320, "height": 900})
    admin.goto("/console/quarantine")
    row = admin.get_by_role("row").filter(has_text="stranger@example.org").first
    expect(row).to_contain_text("careful@example.test")
    frame = admin.get_by_role("region", name="Withheld messages")
    assert frame.evaluate("(shown) => shown.scrollWidth <= shown.clientWidth"), "all of it is seen"
    row.get_by_role("checkbox").check()
    expect(admin.get_by_text("1 selected")).to_be_visible()


def test_what_an_address_cannot_hold_is_passed_over(admin: Page) -> None:
    admin.goto("/console/domains/example.test?tab=nonsense")
    expect(admin.get_by_role("heading", name="DNS records")).to_be_visible()
    admin.goto("/console/find?outcome=nonsense&days=9999")
    expect(admin.get_by_role("region", name="Messages")).to_be_visible()
    expect(admin.get_by_role("alert")).to_have_count(0)


def test_signing_in_is_accessible(page: Page) -> None:
    page.goto("/console/domains")
    page.get_by_role("button", name="Sign in").wait_for()
    assert violations(page) == []


def test_signing_in_leads_back_to_the_address_and_signing_out_ends_it(
    page: Page, posthorn: System
) -> None:
    page.goto("/console/domains?create=true")
    page.get_by_role("radio", name="API key").check()
    page.get_by_label("API key", exact=True).last.fill("ph_" + "x" * 43)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("alert").wait_for()
    page.get_by_label("API key", exact=True).last.fill(posthorn.key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("dialog", name="New domain").wait_for()
    assert page.evaluate("document.cookie") == "", "no script can read the session"
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in").wait_for()
    page.reload()
    page.get_by_role("button", name="Sign in").wait_for()


def test_the_keyboard_reaches_everything(admin: Page) -> None:
    admin.goto("/console/domains")
    admin.get_by_role("link", name="example.test", exact=True).wait_for()
    admin.keyboard.press("Control+k")
    admin.get_by_role("dialog").get_by_role("combobox").wait_for()
    admin.keyboard.type("example.test")
    admin.keyboard.press("Enter")
    admin.get_by_role("heading", name="example.test", level=1).wait_for()
    admin.keyboard.press("?")
    admin.get_by_role("dialog", name="Keyboard").wait_for()
    admin.keyboard.press("Escape")
    admin.get_by_role("dialog").wait_for(state="hidden")
    admin.goto("/console/domains")
    admin.get_by_role("link", name="example.test", exact=True).wait_for()
    admin.keyboard.press("j")
    admin.keyboard.press("Enter")
    admin.get_by_role("heading", name="DNS records").wait_for()


def test_rows_are_walked_ticked_and_opened_by_keys(admin: Page, stocked: dict[str, str]) -> None:
    admin.goto("/console/quarantine")
    rows = admin.get_by_role("row").filter(has_text="stranger@example.org")
    rows.first.wait_for()
    first = admin.locator("tr[data-row]").first
    for key in "jjk":  # of one row, the second finds no other
        admin.keyboard.press(key)
    expect(first.get_by_role("link")).to_be_focused()
    admin.keyboard.press("x")
    expect(first.get_by_role("checkbox")).to_be_checked()
    admin.keyboard.press("/")
    search = admin.locator("main").get_by_role("searchbox").first
    expect(search).to_be_focused()
    admin.keyboard.type("jx?")
    expect(search).to_have_value("jx?")
    expect(admin.get_by_role("dialog")).to_have_count(0)
    admin.get_by_role("button", name="Copy as…").focus()
    admin.keyboard.press("Enter")
    link = admin.get_by_role("button", name="Copy link to this view")
    expect(link).to_be_visible()  # the menu is filled after it is opened
    admin.keyboard.press("Tab")
    expect(link).to_be_focused()
    admin.keyboard.press("Escape")
    admin.keyboard.press("j")
    expect(first.get_by_role("link")).to_be_focused()
    admin.keyboard.press("Enter")
    admin.get_by_role("heading", name="Withheld message", level=1).wait_for()
