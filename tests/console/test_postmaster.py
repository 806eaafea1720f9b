"""A postmaster's day: where is this message, and why; hold, release and cancel what waits."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.console.stock import GTUBE, quarantine
from tests.console.test_screens import LOOKS
from tests.console.watching import sticks_out, violations
from tests.support.system import System, await_that

pytestmark = pytest.mark.interop


def sent(posthorn: System, recipient: str, subject: str, text: str = "One line.") -> UUID:
    """Send a message from alice, and return its id."""
    wish = {"from": "alice@example.test", "to": [recipient], "subject": subject, "text": text}
    answer = posthorn.api.post("/v1/send", json=wish)
    assert answer.status_code == 202, answer.text
    return UUID(answer.json()["id"])


def test_the_timeline_of_a_delivered_message(admin: Page, posthorn: System) -> None:
    message = sent(posthorn, "bob@example.test", "Timeline")
    await_that(
        "it is delivered",
        lambda: "delivered" in posthorn.api.get(f"/v1/messages/{message}/trace").text,
    )
    admin.get_by_role("link", name="Find", exact=True).click()
    admin.get_by_role("searchbox").fill(str(message))
    admin.get_by_role("button", name="Find").click()
    lane = admin.get_by_role("region", name="bob@example.test")
    expect(lane.get_by_role("heading", name="bob@example.test")).to_be_visible()
    expect(lane).to_contain_text("Accepted from the API key bootstrap")
    expect(lane).to_contain_text("Delivered to the mailbox")
    expect(admin.get_by_role("button", name="Copy Message-ID field")).to_be_visible()
    admin.get_by_role("link", name="Compact").click()
    line = admin.get_by_role("row").filter(has_text="bob@example.test")
    expect(line).to_contain_text("Accepted → ")
    expect(line.get_by_role("cell").nth(1)).to_contain_text("Delivered")
    admin.get_by_role("link", name="JSON").click()
    expect(admin.locator("pre")).to_contain_text('"kind": "delivered"')
    expect(admin.get_by_role("link", name="Trace")).to_have_count(0)


def test_a_message_that_is_traced_leads_to_its_trace(admin: Page, posthorn: System) -> None:
    message = sent(posthorn, "bob@example.test", "Traced")
    url = f"https://traces.example.test/trace/{message.hex}"

    def traced(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "trace_url": url})

    admin.route("**/v1/messages/*/trace", traced)
    admin.goto(f"/console/messages/{message}")
    link = admin.get_by_role("link", name="Trace", exact=True)
    expect(link).to_have_attribute("href", url)
    expect(link).to_have_attribute("target", "_blank")
    expect(link).to_have_attribute("rel", "noopener")


def test_a_message_is_found_by_its_subject_and_outcome(admin: Page, posthorn: System) -> None:
    message = sent(posthorn, "bob@example.test", "Zebras <b>found</b>")
    await_that(
        "it is indexed",
        lambda: str(message) in posthorn.api.get("/v1/messages?q=zebras&outcome=delivered").text,
    )
    admin.goto("/console/find?outcome=bounced")
    admin.get_by_role("searchbox").fill("zebras found")
    admin.get_by_role("button", name="Find").click()
    expect(admin.get_by_text("No message found")).to_be_visible()
    admin.get_by_label("Outcome").select_option("delivered")
    row = admin.get_by_role("row").filter(has_text="Zebras <b>found</b>").first
    expect(row).to_contain_text("alice@example.test")
    admin.get_by_role("button", name="Save this view…").click()
    admin.get_by_label("Name", exact=True).fill("zebras")
    admin.get_by_role("button", name="Save view").click()
    admin.goto("/console/find")
    views = admin.get_by_role("navigation", name="Saved views")
    views.get_by_role("link", name="zebras").click()
    expect(admin.get_by_label("Outcome")).to_have_value("delivered")
    expect(admin.get_by_role("searchbox")).to_have_value("zebras found")
    views.get_by_role("button", name="Remove the view zebras").click()
    expect(views.get_by_role("link", name="zebras")).to_have_count(0)
    admin.get_by_role("button", name="Undo").click()
    expect(views.get_by_role("link", name="zebras")).to_be_visible()
    row.get_by_role("link").click()
    expect(admin.get_by_text(str(message), exact=True)).to_be_visible()


def test_what_waits_is_held_released_and_cancelled(admin: Page, posthorn: System) -> None:
    recipient = f"waits@{'w' * 8}.example"
    sent(posthorn, recipient, "<img src=x onerror=alert(1)> & waiting")
    await_that("it is queued", lambda: recipient in posthorn.api.get("/v1/queue").text)
    admin.goto("/console/queue?domain=wwwwwwww.example")
    row = admin.get_by_role("row").filter(has_text=recipient)
    expect(row).to_contain_text("<img src=x onerror=alert(1)> & waiting")
    destination = admin.get_by_role("region", name="Destinations")
    expect(destination).to_contain_text("wwwwwwww.example")
    act = partial(_on_row, admin, row)
    act("Hold")
    expect(row).to_contain_text("held")
    expect(destination).to_contain_text("held")
    wish = {"address": recipient, "reason": "it was there before"}
    assert posthorn.api.post("/v1/suppressions", json=wish).status_code == 201
    act("Suppress")
    expect(admin.get_by_text("Suppressed addresses: 0; suppressed before: 1")).to_be_visible()
    expect(admin.get_by_role("button", name="Undo")).to_have_count(0)
    assert posthorn.api.delete(f"/v1/suppressions/{recipient}").status_code == 204
    act("Suppress")
    admin.get_by_role("button", name="Undo").click()
    expect(admin.get_by_text("Taken back")).to_be_visible()
    assert recipient not in posthorn.api.get("/v1/suppressions").text
    act("Release")
    expect(row).to_contain_text("deferred")
    expect(destination).to_contain_text("deferred")
    row.get_by_role("checkbox").check()
    admin.get_by_role("button", name="Cancel…").click()
    dialog = admin.get_by_role("dialog")
    dialog.get_by_role("button", name="Cancel delivery").click()
    expect(row).to_have_count(0)
    admin.get_by_role("link", name="All, with finished ones").click()
    expect(row).to_contain_text("cancelled")


def _on_row(page: Page, row: Locator, button: str) -> None:
    row.get_by_role("checkbox").check()
    page.get_by_role("button", name=button, exact=True).click()


def test_what_was_taken_for_spam_is_found_with_its_rule(admin: Page, posthorn: System) -> None:
    posthorn.send(GTUBE, "bob@example.test", sender="stranger@example.org")
    await_that(
        "it is filed",
        lambda: "stranger@" in posthorn.api.get("/v1/messages?outcome=junk").text,
    )
    admin.goto("/console/find")
    admin.get_by_role("searchbox").fill("bob@example.test")
    admin.get_by_role("button", name="Find").click()
    admin.get_by_label("Outcome").select_option("junk")
    row = admin.get_by_role("row").filter(has_text="stranger@example.org").first
    expect(row).to_contain_text("10 points")
    row.get_by_role("link").click()
    expect(admin.get_by_role("region", name="bob@example.test")).to_contain_text("Filed")


def test_what_was_withheld_is_read_as_text_and_released(
    admin: Page, posthorn: System, stocked: dict[str, str]
) -> None:
    quarantine(posthorn)
    admin.goto("/console/quarantine?account=careful@example.test")
    rows = admin.get_by_role("row").filter(has_text="stranger@example.org")
    expect(rows.first).to_contain_text("spam points")
    before = rows.count()
    rows.first.get_by_role("link").click()
    admin.get_by_role("button", name="Show the text").click()
    expect(admin.locator("pre")).to_contain_text("GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL")
    expect(admin.get_by_role("region", name="Verdict")).to_contain_text("GTUBE")
    admin.get_by_role("button", name="Release", exact=True).click()
    expect(admin.get_by_role("heading", name="Quarantine", level=1)).to_be_visible()
    expect(rows).to_have_count(before - 1)
    await_that(
        "it is in the mailbox",
        lambda: posthorn.account("careful@example.test")["used_messages"],
    )


def test_a_suppressed_address_gets_mail_again(admin: Page, posthorn: System) -> None:
    admin.goto("/console/suppressions?create=true")
    admin.get_by_role("textbox", name="Address").fill("back@example.org")
    admin.get_by_role("button", name="Suppress address").click()
    row = admin.get_by_role("row").filter(has_text="back@example.org")
    expect(row).to_contain_text("by hand")
    row.get_by_role("button", name="Remove back@example.org", exact=True).click()
    expect(row).to_have_count(0)
    assert "back@example.org" not in posthorn.api.get("/v1/suppressions").text
    admin.get_by_role("button", name="Undo").click()
    expect(row).to_contain_text("by hand")
    assert "back@example.org" in posthorn.api.get("/v1/suppressions").text


def test_an_action_is_done_to_all_that_the_filters_match(admin: Page, posthorn: System) -> None:
    domain = f"{'m' * 8}.example"
    for name in ("one", "two"):
        sent(posthorn, f"{name}@{domain}", "Many")
    await_that(
        "both are queued",
        lambda: len(posthorn.api.get(f"/v1/queue?domain={domain}").json()["items"]) == 2,
    )
    admin.goto(f"/console/queue?domain={domain}")
    rows = admin.get_by_role("region", name="Recipients in the queue").locator("tr[data-row]")
    expect(rows).to_have_count(2)
    admin.get_by_role("checkbox", name="All that the filters match").check()
    admin.get_by_role("button", name="Hold…").click()
    dialog = admin.get_by_role("dialog")
    expect(dialog).to_contain_text("about 2 recipients")
    dialog.get_by_role("button", name="Hold all that match").click()
    expect(rows.filter(has_text="held")).to_have_count(2)
    admin.get_by_role("link", name=f"Add a route for {domain}").click()
    expect(admin.get_by_label("Domain of the recipients")).to_have_value(domain)


def test_what_is_not_right_is_seen_and_found(
    admin: Page, posthorn: System, stocked: dict[str, str], tmp_path: Path
) -> None:
    for alias, target in (("inner", "bob@example.test"), ("outer", "inner@example.test")):
        wish = {"address": f"{alias}@example.test", "targets": [target]}
        assert posthorn.api.post("/v1/aliases", json=wish).status_code == 201
    posthorn.api.get("/v1/domains/example.test/dns/check")
    admin.goto("/console/")
    wrong = admin.locator(".notice").filter(has_text="wrong DNS records")
    expect(wrong.get_by_role("link", name="example.test")).to_be_visible()
    wrong.get_by_role("link", name="Show in the list").click()
    expect(admin.get_by_label("DNS")).to_have_value("wrong")

    admin.goto("/console/aliases/outer@example.test")
    ends = admin.locator(".facts > div").filter(has_text="Ends at")
    expect(ends).to_contain_text("bob@example.test by inner@example.test")

    assert posthorn.api.post("/v1/domains", json={"name": "signed.test"}).status_code == 201
    admin.goto("/console/domains")
    row = admin.get_by_role("row").filter(has_text="signed.test")
    expect(row).to_contain_text("since")
    expect(row).to_contain_text(re.compile(r"\d delivered, [\d,]+ submitted"))
    admin.get_by_role("button", name="Check all", exact=True).click()
    expect(admin.get_by_text("Domains that are checked, a few at a time:")).to_be_visible()

    admin.goto("/console/accounts/bob@example.test")
    leading = admin.get_by_role("region", name="Aliases that lead here")
    expect(leading.get_by_role("link", name="inner@example.test")).to_be_visible()
    expect(leading.get_by_role("link", name="outer@example.test")).to_have_count(0)

    admin.goto("/console/audit?object=outer@example.test")
    with admin.expect_download() as saved:
        admin.get_by_role("button", name="Save all as JSON").click()
    saved.value.save_as(tmp_path / "audit.ndjson")
    (line,) = (tmp_path / "audit.ndjson").read_text().splitlines()
    assert json.loads(line)["action"] == "alias.create"


def test_all_that_failed_of_a_webhook_is_replayed(admin: Page, stocked: dict[str, str]) -> None:
    def given_up(route: Route) -> None:
        answer = route.fetch()
        items = [{**each, "state": "failed"} for each in answer.json()["items"]]
        route.fulfill(response=answer, json={**answer.json(), "items": items})

    admin.route(re.compile("/deliveries[?]"), given_up)
    admin.goto(f"/console/webhooks/{stocked['webhook']}")
    admin.get_by_role("button", name="Replay all failed", exact=True).click()
    expect(admin.get_by_text("Tried again: 0")).to_be_visible()
    admin.unroute_all(behavior="wait")


def test_a_route_shows_its_attempts_of_the_last_hour(admin: Page, posthorn: System) -> None:
    route = {"domain": "tried.example", "host": "127.0.0.1", "port": 9}
    assert posthorn.api.post("/v1/routes", json=route).status_code == 201
    admin.goto("/console/routes?q=tried")
    row = admin.get_by_role("row").filter(has_text="tried.example")
    expect(row.get_by_role("cell").nth(5)).to_have_text("none")
    sent(posthorn, "bob@tried.example", "Tried")

    def counted() -> bool:
        found = posthorn.api.get("/v1/routes/tried.example").json()
        return bool(found["last_hour"]["deferred"])

    await_that("the attempt is counted", counted)
    admin.reload()
    expect(row).to_contain_text(re.compile("[1-9] deferred"))


def test_a_route_is_probed_without_a_message(admin: Page, posthorn: System) -> None:
    route = {"domain": "closed.example", "host": "127.0.0.1", "port": 9}
    assert posthorn.api.post("/v1/routes", json=route).status_code == 201
    admin.goto("/console/routes?q=closed")
    admin.get_by_role("button", name="Probe closed.example").click()
    dialog = admin.get_by_role("dialog")
    dialog.get_by_label("Recipient").fill("bob@elsewhere.test")
    dialog.get_by_role("button", name="Probe", exact=True).click()
    expect(dialog).to_contain_text("its mail does not take the route of closed.example")
    dialog.get_by_label("Recipient").fill("bob@closed.example")
    dialog.get_by_role("button", name="Probe", exact=True).click()
    expect(dialog).to_contain_text("Mail would wait")
    expect(dialog).to_contain_text("127.0.0.1 (127.0.0.1) port 9")
    expect(dialog).to_contain_text("Connection refused")


def test_all_sessions_of_a_person_are_ended(admin: Page) -> None:
    button = admin.get_by_role("button", name="End sessions…")
    admin.goto("/console/keys")
    expect(admin.get_by_role("button", name="New key")).to_be_visible()
    expect(button).to_have_count(0)

    def with_issuer(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "oidc": {"name": "Company"}})

    admin.route("**/v1/login/methods", with_issuer)
    admin.reload()
    button.click()
    dialog = admin.get_by_role("dialog")
    dialog.get_by_label("Subject").fill("nobody")
    for scheme, width in LOOKS:
        admin.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        admin.set_viewport_size({"width": width, "height": 900})
        assert [*violations(admin), *sticks_out(admin)] == []
    dialog.get_by_role("button", name="Copy as…").click()
    expect(dialog.get_by_role("button", name="Copy posthorn command")).to_be_visible()
    with admin.expect_request("**/v1/login/sessions/end") as request:
        dialog.get_by_role("button", name="End all sessions").click()
    assert request.value.post_data_json == {"subject": "nobody"}
    expect(admin.get_by_text("Ended sessions: 0")).to_be_visible()
    expect(dialog).to_have_count(0)
    admin.unroute_all(behavior="wait")
