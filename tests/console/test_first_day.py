"""The first day on a new system: a domain, its DNS, an account, a message and its timeline; then
what an operator changes, also while somebody else does."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect

from tests.support.system import System

pytestmark = pytest.mark.interop


def test_from_a_domain_to_the_timeline_of_a_message(admin: Page, posthorn: System) -> None:
    admin.get_by_role("link", name="Domains", exact=True).click()
    admin.get_by_role("button", name="New domain").click()
    admin.get_by_label("Name", exact=True).fill("first-day.example")
    admin.get_by_role("button", name="Create domain").click()
    expect(admin.get_by_role("heading", name="DNS records")).to_be_visible()
    steps = admin.get_by_role("region", name="Three steps to a new domain").get_by_role("listitem")
    expect(steps).to_have_count(3)
    expect(steps.nth(0)).to_contain_text("Done")
    expect(steps.nth(1)).to_contain_text("To do")
    expect(admin.locator(".record").filter(has_text="mx").first).to_contain_text("MX")

    admin.locator("main").get_by_role("link", name="Accounts").click()
    admin.get_by_role("button", name="New account").click()
    admin.get_by_role("dialog").get_by_label("Address").fill("carol@first-day.example")
    admin.get_by_role("button", name="Create account").click()
    expect(admin.get_by_role("dialog").locator(".secret")).to_be_visible()
    admin.evaluate("history.back()")
    password = stored(admin)
    assert posthorn.maildrop("carol@first-day.example", password).count() == 0
    expect(admin.get_by_role("heading", name="carol@first-day.example")).to_be_visible()

    admin.goto("/console/domains/first-day.example")
    admin.get_by_role("button", name="Send a test message…").click()
    expect(admin.get_by_label("From")).to_have_value("carol@first-day.example")
    admin.get_by_role("button", name="Send and watch").click()
    lane = admin.get_by_role("region", name="carol@first-day.example")
    expect(lane).to_contain_text("Delivered to the mailbox")


def test_an_account_is_looked_after(admin: Page, posthorn: System) -> None:
    address = "dora@example.test"
    posthorn.make_account(address)
    admin.goto(f"/console/accounts/{address}?tab=passwords")
    admin.get_by_role("button", name="New app password").click()
    admin.get_by_label("Name", exact=True).fill("laptop")
    admin.get_by_role("button", name="Create app password").click()
    assert posthorn.maildrop(address, stored(admin)).count() == 0
    expect(admin.get_by_role("region", name="Sign-ins")).to_be_visible()

    admin.get_by_role("button", name="QR code for a phone…").click()
    admin.get_by_role("button", name="Create app password and show code").click()
    code = admin.get_by_role("img", name=f"QR code that sets up {address}")
    assert code.locator("path").get_attribute("d")
    admin.get_by_role("dialog").get_by_role("button", name="Done").click()

    admin.get_by_role("button", name="Delete laptop").click()
    admin.get_by_role("dialog").get_by_role("button", name="Delete app password").click()
    expect(admin.get_by_role("row").filter(has_text="laptop")).to_have_count(0)

    admin.get_by_role("button", name="Suspend", exact=True).click()
    expect(admin.get_by_role("button", name="Activate", exact=True)).to_be_visible()
    assert posthorn.account(address)["state"] == "suspended"

    admin.get_by_role("button", name="Delete…").click()
    dialog = admin.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Delete account")).to_be_disabled()
    dialog.get_by_label(f"Type {address} to confirm").fill(address)
    dialog.get_by_role("button", name="Delete account").click()
    expect(admin.get_by_role("heading", name="Accounts", level=1)).to_be_visible()
    assert posthorn.api.get(f"/v1/accounts/{address}").status_code == 404


def test_what_somebody_else_changes_meanwhile_is_not_overwritten(
    admin: Page, posthorn: System
) -> None:
    posthorn.api.post("/v1/domains", json={"name": "shared.example"})
    admin.goto("/console/domains/shared.example?tab=settings")
    admin.get_by_label("Accounts at most").fill("7")
    admin.get_by_label("Addresses elsewhere that each account may forward").fill("2")
    theirs = {"undelete_days": 3, "max_accounts": 5}
    assert posthorn.api.patch("/v1/domains/shared.example", json=theirs).status_code == 200
    admin.get_by_role("button", name="Save").click()
    both = admin.get_by_role("table", name="Both versions")
    expect(both.get_by_role("row").filter(has_text="Accounts at most")).to_contain_text("7")
    expect(both.get_by_role("row").filter(has_text="Accounts at most")).to_contain_text("5")
    expect(both).to_contain_text("Days in which deleted mail can be restored")
    admin.get_by_role("button", name="Put my changes over theirs").click()
    expect(admin.get_by_label("Accounts at most")).to_have_value("7")
    admin.get_by_role("button", name="Save").click()
    expect(admin.get_by_role("definition").filter(has_text="7")).to_be_visible()
    domain = posthorn.api.get("/v1/domains/shared.example").json()
    assert (domain["max_accounts"], domain["undelete_days"]) == (7, 3)
    assert domain["account_forwards"] == 2


def test_a_change_is_taken_back_and_the_audit_log_has_both(admin: Page, posthorn: System) -> None:
    name = "undone.example"
    assert posthorn.api.post("/v1/domains", json={"name": name, "dkim": False}).is_success
    admin.goto(f"/console/domains/{name}?tab=settings")
    admin.get_by_label("Accounts at most").fill("7")
    admin.get_by_role("button", name="Save").click()
    admin.get_by_role("button", name="Undo").click()
    expect(admin.get_by_label("Accounts at most")).to_have_value("")
    assert posthorn.api.get(f"/v1/domains/{name}").json()["max_accounts"] is None
    admin.get_by_label("Accounts at most").fill("8")
    admin.get_by_role("button", name="Save").click()
    expect(admin.get_by_text("0 of 8", exact=True)).to_be_visible()

    admin.goto(f"/console/audit?object={name}&action=domain.change")
    lines = admin.get_by_role("table", name="Changes").locator("tbody > tr[data-row]")
    expect(lines).to_have_count(3)
    lines.nth(1).locator("summary").click()
    expect(lines.nth(1).get_by_role("row").last).to_have_text("max_accounts7none")


def test_the_palette_finds_by_a_part_of_a_name(admin: Page, posthorn: System) -> None:
    posthorn.make_account("palette-person@example.test")
    admin.keyboard.press("Control+k")
    admin.get_by_role("combobox").fill("palette-p")
    admin.get_by_role("option", name="palette-person@example.test").click()
    admin.get_by_role("heading", name="palette-person@example.test", level=1).wait_for()


def test_a_configuration_is_planned_read_and_applied(admin: Page, posthorn: System) -> None:
    posthorn.api.post("/v1/tenants", json={"name": "planned"})
    domain = {"name": "planned.example", "tenant": "planned", "dkim": False}
    assert posthorn.api.post("/v1/domains", json=domain).status_code == 201
    alias = {"address": "old@planned.example", "targets": ["a@planned.example"]}
    account = {"address": "a@planned.example", "password": "a password for tests"}
    for path, fields in (("accounts", account), ("aliases", alias)):
        assert posthorn.api.post(f"/v1/{path}", json=fields).status_code == 201
    admin.goto("/console/configuration?tenant=planned")
    document = admin.get_by_label("Wanted configuration, as JSON")
    document.fill("domains: [] # no JSON")
    admin.get_by_role("button", name="Plan").click()
    expect(admin.get_by_role("alert")).to_contain_text("This is not JSON")

    wish = {
        "accounts": [{"address": "a@planned.example", "quota_bytes": 4096}],
        "aliases": [{"address": "new@planned.example", "targets": ["a@planned.example"]}],
    }
    document.fill(json.dumps(wish))
    admin.get_by_label("Delete what is there and not listed").check()
    admin.get_by_role("button", name="Plan").click()
    plan = admin.get_by_role("region", name="Plan")
    expect(plan).to_contain_text("quota_bytes: 4096")
    expect(plan).to_contain_text("+ alias new@planned.example")
    expect(plan).to_contain_text("- alias old@planned.example")
    assert posthorn.api.get("/v1/aliases/old@planned.example").status_code == 200
    plan.get_by_role("button", name="Apply", exact=True).click()
    dialog = admin.get_by_role("dialog")
    dialog.get_by_label("Type planned to confirm").fill("planned")
    dialog.get_by_role("button", name="Apply").click()
    expect(plan).to_contain_text("3 changes of planned were made, 0 failed")
    assert posthorn.api.get("/v1/aliases/old@planned.example").status_code == 404
    assert posthorn.account("a@planned.example")["quota_bytes"] == 4096


def test_what_a_tool_manages_is_marked_and_an_edit_warns(admin: Page, posthorn: System) -> None:
    posthorn.api.post("/v1/tenants", json={"name": "managed"})
    account, alias = "a@managed.example", "all@managed.example"
    document = {
        "domains": [
            {"name": "managed.example", "dkim": False, "filter_policy": {"greylist": False}}
        ],
        "accounts": [{"address": account, "quota_bytes": 4096}],
        "aliases": [{"address": alias, "targets": [account]}],
    }
    query = {"tenant": "managed", "manager": "argo-cd"}
    assert posthorn.api.put("/v1/config", params=query, json=document).json()["failed"] == 0

    warning = "Managed by argo-cd"
    for path, name in (("domains", "managed.example"), ("accounts", account), ("aliases", alias)):
        admin.goto(f"/console/{path}")
        row = admin.get_by_role("row").filter(has_text=name)
        expect(row.first).to_contain_text("managed by argo-cd")
        admin.goto(f"/console/{path}/{name}")
        expect(admin.get_by_text("managed by argo-cd", exact=True)).to_be_visible()
    expect(
        admin.get_by_text("Its next apply sets back what is changed here of: Targets.")
    ).to_be_visible()
    admin.get_by_role("button", name="Delete…").click()
    dialog = admin.get_by_role("dialog")
    expect(dialog).to_contain_text("argo-cd, whose next apply creates it again.")
    dialog.get_by_role("button", name="Cancel").click()
    admin.goto(f"/console/accounts/{account}")
    notice = admin.locator(".notice").filter(has_text=warning)
    expect(notice).to_contain_text("Quota.")
    admin.get_by_label("Quota", exact=True).fill("1 MiB")
    admin.get_by_role("button", name="Save").click()
    expect(admin.get_by_role("definition").filter(has_text="MiB")).to_be_visible()
    # what the document does not set is nobody's
    admin.goto("/console/domains/managed.example?tab=settings")
    expect(admin.get_by_role("button", name="Save")).to_be_visible()
    expect(admin.locator(".notice").filter(has_text=warning)).to_have_count(0)
    admin.goto("/console/domains/managed.example?tab=filter")
    expect(admin.locator(".notice").filter(has_text=warning)).to_contain_text("undoes a change")

    # a document without a manager reads whose work it undoes; one with another takes over
    admin.goto("/console/configuration?tenant=managed")
    admin.get_by_label("Wanted configuration, as JSON").fill(
        json.dumps({"accounts": [{"address": account, "quota_bytes": 1}]})
    )
    admin.get_by_role("button", name="Plan").click()
    plan = admin.get_by_role("region", name="Plan")
    expect(plan).to_contain_text("managed by argo-cd, whose next apply undoes it")
    admin.get_by_role("textbox", name="Manager").fill("flux")
    admin.get_by_role("button", name="Plan").click()
    expect(admin.get_by_role("alert")).to_contain_text(f"account {account} by argo-cd")
    admin.get_by_label("Take over what another manager has").check()
    admin.get_by_role("button", name="Plan").click()
    expect(plan).to_contain_text(f"Newly managed by flux: account {account}")
    plan.get_by_role("button", name="Copy “Apply” as…").click()
    command = admin.get_by_role("button", name="posthorn command")
    expect(command).to_be_visible()
    admin.keyboard.press("Escape")
    plan.get_by_role("button", name="Apply", exact=True).click()
    expect(plan).to_contain_text("1 change of managed were made, 0 failed")
    managers = admin.get_by_role("region", name="Managers")
    expect(managers).to_contain_text("argo-cd manages 1 domains, 1 aliases")
    managers.get_by_role("button", name="Release flux").click()
    admin.get_by_role("dialog").get_by_role("button", name="Release all").click()
    expect(managers).not_to_contain_text("flux")
    assert posthorn.account(account)["managed_by"] is None


def stored(page: Page) -> str:
    """Return the secret that the open dialog shows, and close it: only after the tick it does."""
    dialog = page.get_by_role("dialog")
    secret = dialog.locator(".secret code").inner_text()
    page.keyboard.press("Escape")
    done = dialog.get_by_role("button", name="Done")
    expect(done).to_be_disabled()
    dialog.get_by_label("I have stored it").check()
    done.click()
    return secret
