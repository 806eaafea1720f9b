"""The day of a person with an account: a phone, a password, an automatic reply, withheld mail."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, Route, expect

from tests.console.stock import quarantine
from tests.console.test_first_day import stored
from tests.console.watching import missed_by_tab, settle, violations
from tests.support.system import System, await_that

pytestmark = pytest.mark.interop

ADDRESS, PASSWORD = "careful@example.test", "a password for tests"
TABS = (
    "",
    "?tab=mail",
    "?tab=history",
    "?tab=vacation",
    "?tab=forwards",
    "?tab=quarantine",
    "?tab=deleted",
)


def sign_in(page: Page, address: str) -> None:
    """Sign in as a person does, by address and password."""
    page.goto("/console/me")
    page.get_by_role("textbox", name="Address").fill(address)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="My account", level=1).wait_for()


def test_a_person_manages_what_is_theirs(
    page: Page, posthorn: System, stocked: dict[str, str]
) -> None:
    sign_in(page, ADDRESS)
    names = page.get_by_role("navigation", name="Pages").get_by_role("link").all_inner_texts()
    assert names == ["My account"], "nothing of the administration is shown"
    page.goto("/console/")
    page.get_by_role("heading", name="My account", level=1).wait_for()
    page.get_by_role("button", name="New app password").click()
    page.get_by_label("Name", exact=True).fill("tablet")
    page.get_by_role("button", name="Create app password").click()
    before = posthorn.maildrop(ADDRESS, stored(page)).count()

    page.get_by_role("button", name="QR code for a phone…").click()
    page.get_by_role("button", name="Create app password and show code").click()
    code = page.get_by_role("img", name=f"QR code that sets up {ADDRESS}")
    assert code.locator("path").get_attribute("d")
    page.get_by_role("dialog").get_by_role("button", name="Done").click()

    quarantine(posthorn)
    page.get_by_role("link", name="Withheld mail").click()
    page.get_by_role("button", name="Release Test").first.click()
    await_that(
        "it is in the mailbox",
        lambda: posthorn.maildrop(ADDRESS, PASSWORD).count() == before + 1,
    )
    page.get_by_role("link", name="Automatic reply").click()
    page.get_by_label("Reply automatically").check()
    page.get_by_label("Subject").fill("Away")
    page.get_by_label("Text").fill("I am away.")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Replies are sent", exact=True).wait_for()
    page.reload()
    expect(page.get_by_label("Text")).to_have_value("I am away.")

    page.get_by_role("link", name="Mailboxes and export").click()
    expect(page.get_by_role("row").filter(has_text="INBOX")).to_be_visible()
    with page.expect_download() as saved:
        page.get_by_role("link", name="One file (mbox)").click()
    assert saved.value.suggested_filename == "mail.mbox"
    assert b"Subject: Test" in saved.value.path().read_bytes()
    page.get_by_role("link", name="Sign-ins and reads").click()
    expect(page.get_by_role("row").filter(has_text="content.export")).to_contain_text("account")

    found = {}
    for tab in TABS:
        page.goto(f"/console/me{tab}")
        settle(page)
        found[tab] = [*violations(page), *missed_by_tab(page)]
    assert not any(found.values()), found


def test_a_new_password_takes_the_place_of_the_old(page: Page, posthorn: System) -> None:
    address = "erin@example.test"
    posthorn.make_account(address)
    sign_in(page, address)
    page.get_by_label("Current password").fill(PASSWORD)
    page.get_by_label("New password").fill("another password for tests")
    page.get_by_role("button", name="Change password").click()
    page.get_by_text("Your password is changed", exact=True).wait_for()
    page.reload()
    page.get_by_role("heading", name="My account", level=1).wait_for()
    assert posthorn.maildrop(address, "another password for tests").count() == 0


def test_mail_is_forwarded_as_the_domain_permits(
    page: Page, posthorn: System, stocked: dict[str, str]
) -> None:
    sign_in(page, ADDRESS)
    page.get_by_role("link", name="Forwards").click()
    expect(page.get_by_text("Your domain does not permit forwards")).to_be_visible()
    expect(page.get_by_role("button", name="Add address")).to_have_count(0)

    assert posthorn.api.patch("/v1/domains/example.test", json={"account_forwards": 2}).is_success
    page.reload()
    page.get_by_label("Address", exact=True).fill("bob@example.test")
    page.get_by_label("Keep a copy here").uncheck()
    page.get_by_role("button", name="Add address").click()
    expect(page.get_by_label("Address", exact=True)).to_be_focused()
    expect(page.locator(".fault")).to_contain_text("is an address here")
    page.get_by_label("Address", exact=True).fill("me@elsewhere.example")
    page.get_by_role("button", name="Add address").click()
    row = page.get_by_role("row").filter(has_text="me@elsewhere.example")
    expect(row).to_contain_text("unconfirmed")
    expect(page.get_by_text("No copy is kept here", exact=True).first).to_be_visible()
    page.get_by_role("button", name="Keep a copy here", exact=True).click()
    page.get_by_role("button", name="Keep no copy here", exact=True).wait_for()

    page.get_by_label("Address", exact=True).fill("too@elsewhere.example")
    page.get_by_role("button", name="Add address").click()
    expect(page.get_by_text("Your domain permits no more than 2 of them.")).to_be_visible()
    expect(page.get_by_role("button", name="Add address")).to_have_count(0)
    set_ = page.request.get("/v1/me/forwards").json()
    assert [each["address"] for each in set_["targets"]] == [
        "me@elsewhere.example",
        "too@elsewhere.example",
    ]
    assert set_["keep_copy"] is True
    for address in ("me@elsewhere.example", "too@elsewhere.example"):
        page.get_by_role("button", name=f"Remove {address}", exact=True).click()
        expect(page.get_by_role("row").filter(has_text=address)).to_have_count(0)
    expect(page.get_by_text("Your mail is not forwarded.")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("row").filter(has_text="too@elsewhere.example")).to_be_visible()


def test_a_virus_is_not_offered_for_release(
    page: Page, posthorn: System, stocked: dict[str, str]
) -> None:
    quarantine(posthorn)
    sign_in(page, ADDRESS)

    def infected(route: Route) -> None:
        # no scanner here knows viruses
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace('"score"', '"virus"', 1))

    page.route("**/v1/me/quarantine?*", infected)
    page.get_by_role("link", name="Withheld mail").click()
    row = page.get_by_role("row").filter(has_text="virus")
    expect(row).to_contain_text("only who administers your domain can release it")
    expect(row.get_by_role("button")).to_have_count(0)
