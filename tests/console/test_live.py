"""What happens is seen as it happens, without a reload and without asking."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from tests.console.test_postmaster import sent
from tests.support.sink import Sink
from tests.support.system import System, await_that

pytestmark = pytest.mark.interop

REFUSALS = {"later": "451 4.7.1 Please try again", "again": "451 4.7.1 Please try again"}


@pytest.fixture(scope="module")
def sink(posthorn: System) -> Iterator[Sink]:
    """The server that takes mail for live.example, once it refuses nobody any more."""
    listening = Sink(dict(REFUSALS))
    listening.start()
    route = {"domain": "live.example", "host": "127.0.0.1", "port": listening.port, "tls": "none"}
    assert posthorn.api.post("/v1/routes", json=route).status_code == 201
    yield listening
    listening.stop()


def deferred(posthorn: System, sink: Sink, name: str) -> str:
    """Have a message deferred. Return its id; from now on its recipient is taken."""
    message = str(sent(posthorn, f"{name}@live.example", f"Live {name}"))
    await_that(
        "it is deferred",
        lambda: "deferred" in posthorn.api.get(f"/v1/messages/{message}/trace").text,
    )
    sink.refusals = {each: reply for each, reply in sink.refusals.items() if each != name}
    return message


def retry(posthorn: System, message: str) -> None:
    assert posthorn.api.post("/v1/queue/retry", json={"message": message}).json()["matched"] == 1


def test_a_timeline_moves_with_no_reload_and_no_poll(
    admin: Page, posthorn: System, sink: Sink
) -> None:
    message = deferred(posthorn, sink, "later")
    streams: list[str] = []
    admin.on("request", lambda each: streams.append(each.url) if "stream" in each.url else None)
    admin.goto(f"/console/messages/{message}")
    lane = admin.get_by_role("region", name="later@live.example")
    expect(lane).to_contain_text("451 4.7.1 Please try again")
    expect(admin.locator("main").get_by_text("live", exact=True)).to_be_visible()
    old = posthorn.api.get(f"/v1/messages/{message}/trace").text

    def unchanged(route: Route) -> None:
        route.fulfill(body=old, content_type="application/json")

    # whoever asks is told nothing new
    admin.route("**/trace", unchanged)
    retry(posthorn, message)
    expect(lane).to_contain_text("Delivered to 127.0.0.1")
    assert [each.rpartition("?")[2] for each in streams] == [f"message={message}"]


def test_without_the_stream_a_timeline_is_asked_for(
    admin: Page, posthorn: System, sink: Sink
) -> None:
    message = deferred(posthorn, sink, "again")
    admin.route("**/v1/events/stream*", lambda route: route.fulfill(status=429))
    admin.goto(f"/console/messages/{message}")
    lane = admin.get_by_role("region", name="again@live.example")
    expect(lane).to_contain_text("451 4.7.1 Please try again")
    retry(posthorn, message)
    expect(lane).to_contain_text("Delivered to 127.0.0.1")
    expect(admin.locator("main").get_by_text("live", exact=True)).to_have_count(0)


def test_the_queue_follows_its_events(admin: Page, posthorn: System) -> None:
    recipient = "moves@qqqqqqqq.example"
    message = str(sent(posthorn, recipient, "Moving"))
    await_that("it is queued", lambda: recipient in posthorn.api.get("/v1/queue").text)
    admin.clock.install()
    with admin.expect_response(lambda each: "/events/stream" in each.url):
        admin.goto("/console/queue?domain=qqqqqqqq.example")
    row = admin.get_by_role("row").filter(has_text=recipient)
    expect(row).to_be_visible()
    admin.clock.pause_at(time.time() + 3600)
    posthorn.api.post("/v1/queue/hold", json={"message": message})
    # of the page's time less passes than from one question to the next
    for _ in range(80):
        admin.clock.run_for(500)
        if "held" in row.inner_text():
            return
        time.sleep(0.4)  # a busy machine answers late
    raise AssertionError(row.inner_text())
