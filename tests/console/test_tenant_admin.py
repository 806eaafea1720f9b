"""Rights: a tenant's admin sees the tenant's own objects, and nobody is shown what the API would
refuse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.console.conftest import sign_in_by_key
from tests.console.watching import settle
from tests.support.system import System

pytestmark = pytest.mark.interop

_NAVIGATION = Path(__file__).parents[2] / "services/console/web/src/app/navigation.ts"
PAGES = dict(re.findall(r'path: "([^"]+)",\s+title: "([^"]+)"', _NAVIGATION.read_text()))
"""All pages of the navigation: the title by the path."""
_HEADINGS = {"Find": "Find messages"}


@pytest.fixture(scope="module")
def tenants(posthorn: System) -> None:
    """Two tenants with a domain, an account and an alias each."""
    for name in ("ours", "theirs"):
        domain = f"{name}.example"
        address = f"admin@{domain}"
        for noun, fields in (
            ("tenants", {"name": name}),
            ("domains", {"name": domain, "tenant": name, "dkim": False}),
            ("accounts", {"address": address, "password": "a password for tests"}),
            ("aliases", {"address": f"all@{domain}", "targets": [address]}),
        ):
            answer = posthorn.api.post(f"/v1/{noun}", json=fields)
            assert answer.status_code == 201, answer.text


def key_of(posthorn: System, role: str) -> str:
    """Create a key of the tenant ``ours``."""
    fields = {"name": role, "role": role, "tenant": "ours"}
    key: str = posthorn.api.post("/v1/api-keys", json=fields).json()["key"]
    return key


def test_a_tenants_admin_sees_its_own_alone(page: Page, posthorn: System, tenants: None) -> None:
    sign_in_by_key(page, key_of(posthorn, "tenant-admin"))
    for path, ours in {
        "domains": "ours.example",
        "accounts": "admin@ours.example",
        "aliases": "all@ours.example",
        "tenants": "ours",
        "keys": "tenant-admin",
    }.items():
        page.goto(f"/console/{path}")
        expect(page.get_by_role("row").filter(has_text=ours).first).to_be_visible()
        expect(page.locator("main")).not_to_contain_text("theirs")
        expect(page.locator("main")).not_to_contain_text("example.test")
    expect(page.get_by_role("button", name="New tenant")).to_have_count(0)
    for path in ("domains/theirs.example", "accounts/admin@theirs.example", "tenants/theirs"):
        page.goto(f"/console/{path}")
        expect(page.get_by_role("alert").first).to_contain_text("There is no")
    page.goto("/console/configuration")
    expect(page.locator("main pre")).to_contain_text("all@ours.example")
    expect(page.locator("main pre")).not_to_contain_text("theirs")


@pytest.mark.parametrize("role", ["tenant-admin", "read-only", "send-only"])
def test_what_is_shown_succeeds_and_what_is_not_is_refused(
    page: Page, posthorn: System, tenants: None, role: str
) -> None:
    sign_in_by_key(page, key_of(posthorn, role))
    navigation = page.get_by_role("navigation", name="Pages")
    shown = {path for path, title in PAGES.items() if _leads_to(navigation, title)}
    assert "/" in shown
    assert "/routes" not in shown
    refused = []
    for path, title in PAGES.items():
        page.goto(f"/console{path}")
        heading = _HEADINGS.get(title, title)
        page.get_by_role("heading", name=heading, level=1, exact=True).wait_for()
        if path in shown:
            settle(page)
            expect(page.get_by_role("alert")).to_have_count(0)
        else:
            expect(page.get_by_role("alert").first).to_contain_text(
                re.compile("may (not )?do this")
            )
            refused.append(path)
    assert set(refused) == PAGES.keys() - shown


def test_a_reader_is_offered_no_change(page: Page, posthorn: System, tenants: None) -> None:
    sign_in_by_key(page, key_of(posthorn, "read-only"))
    for path in ("domains/ours.example?tab=settings", "accounts/admin@ours.example", "keys"):
        page.goto(f"/console/{path}")
        page.get_by_role("heading", level=1).wait_for()
        settle(page)
        for name in ("Save", "Delete", "Suspend", "New"):
            expect(page.get_by_role("button", name=name)).to_have_count(0)


def _leads_to(navigation: Locator, title: str) -> bool:
    return navigation.get_by_role("link", name=title, exact=True).count() == 1
