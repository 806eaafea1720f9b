"""Many at once, and the same by a command: imports with their preview, and "copy as"."""

from __future__ import annotations

import shlex

import pytest
from playwright.sync_api import Page, expect

from tests.support.system import System

pytestmark = pytest.mark.interop


def copied(page: Page, what: str) -> str:
    """Copy something of the menu that is open, and return it."""
    page.get_by_role("button", name=f"Copy {what}", exact=True).click()
    page.get_by_text(f"Copied: {what}", exact=True).wait_for()
    page.keyboard.press("Escape")
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


@pytest.fixture
def admin(admin: Page) -> Page:
    admin.context.grant_permissions(["clipboard-read", "clipboard-write"])
    return admin


def test_a_list_and_an_action_are_copied_as_commands(admin: Page, posthorn: System) -> None:
    admin.goto("/console/accounts?domain=example.test")
    admin.get_by_role("button", name="Copy as…").click()
    command = copied(admin, "posthorn command")
    assert command == "posthorn account list --domain example.test --total"
    admin.get_by_role("button", name="Copy as…").click()
    curl = shlex.split(copied(admin, "curl command"))
    assert curl[2].startswith(f"http://127.0.0.1:{posthorn.ports['API']}/v1/accounts?")
    assert curl[4] == "Authorization: Bearer $POSTHORN_API_KEY"

    admin.get_by_role("button", name="New account").click()
    dialog = admin.get_by_role("dialog", name="New account")
    dialog.get_by_label("Address").fill("copied@example.test")
    dialog.get_by_label("Password").fill("a secret that is not copied")
    dialog.get_by_role("button", name="Copy as…").click()
    line = copied(admin, "curl command")
    assert '"address":"copied@example.test"' in line
    assert "a secret" not in line
    assert posthorn.api.get("/v1/accounts/copied@example.test").status_code == 404


def test_accounts_are_imported_when_no_line_is_wrong(admin: Page, posthorn: System) -> None:
    admin.goto("/console/accounts?import=true")
    lines = admin.get_by_role("textbox", name="Lines")
    lines.fill("address,quota\nimp1@example.test,1 GiB\nimp2@nowhere.test,2\nimp3,x\n")
    admin.get_by_role("button", name="Preview").click()
    dialog = admin.get_by_role("dialog")
    expect(dialog).to_contain_text("2 lines are wrong")
    expect(dialog).to_contain_text("there is no domain nowhere.test here")
    expect(dialog).to_contain_text("this is no address; x is no size")
    expect(dialog.get_by_role("button", name="Import accounts")).to_be_disabled()
    dialog.get_by_role("button", name="Back to the lines").click()

    lines.fill("address,quota\nimp1@example.test,1 GiB\nimp2@example.test,\n")
    admin.get_by_role("button", name="Preview").click()
    expect(dialog).to_contain_text("2 accounts can be imported")
    assert posthorn.api.get("/v1/accounts/imp1@example.test").status_code == 404
    dialog.get_by_role("button", name="Import accounts").click()
    expect(dialog.get_by_role("row").filter(has_text="imp2@example.test")).to_contain_text(
        "created"
    )
    passwords = dict(each.split(",") for each in copied(admin, "new passwords as CSV").split())
    assert posthorn.maildrop("imp2@example.test", passwords["imp2@example.test"]).count() == 0
    assert posthorn.account("imp1@example.test")["quota_bytes"] == 2**30
    dialog.get_by_label("I have stored them").check()
    dialog.get_by_role("button", name="Done").click()
    expect(admin.get_by_role("row").filter(has_text="imp1@example.test")).to_be_visible()


def test_suppressions_are_imported(admin: Page, posthorn: System) -> None:
    admin.goto("/console/suppressions?import=true")
    admin.get_by_role("textbox", name="Lines").fill("old1@example.net;moved\nold2@example.net\n")
    admin.get_by_role("button", name="Preview").click()
    admin.get_by_role("button", name="Import suppressions").click()
    expect(admin.get_by_role("dialog")).to_have_count(0)
    row = admin.get_by_role("row").filter(has_text="old1@example.net")
    expect(row).to_contain_text("moved")
    assert "old2@example.net" in posthorn.api.get("/v1/suppressions").text


def test_records_are_copied_in_the_forms_of_other_tools(admin: Page, posthorn: System) -> None:
    admin.goto("/console/domains/example.test")
    for what, expected in {
        "zone file": "example.test. 3600 IN MX",
        "Terraform": 'resource "dns_mx_record_set" "mx_example_test"',
        "DNSEndpoint": "kind: DNSEndpoint",
    }.items():
        admin.get_by_role("button", name="Copy all records…").click()
        assert expected in copied(admin, what)
