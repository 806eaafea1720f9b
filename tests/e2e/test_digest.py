"""What Junk takes reaches a reader of POP3: the digest finds it, and its link brings it to INBOX."""

from __future__ import annotations

import re
from email import message_from_bytes
from email.policy import default
from typing import Any

import httpx

from tests.e2e.test_scanning import GTUBE, kinds
from tests.support.maildrop import Maildrop
from tests.support.polling import BUSY_SECONDS
from tests.support.system import System, await_that


def junk(system: System, drop: Maildrop) -> list[dict[str, Any]]:
    answer = system.api.get(f"/v1/accounts/{drop.address}/messages", params={"mailbox": "Junk"})
    found: list[dict[str, Any]] = answer.json()["items"] if answer.is_success else []
    return found


def filed(system: System, drop: Maildrop) -> list[dict[str, Any]]:
    """Send GTUBE; return what is in Junk. Until the tier is up it is delivered unscanned."""
    system.send(GTUBE, drop.address)
    await_that("the message", lambda: junk(system, drop) or drop.count())
    return junk(system, drop)


def test_the_digest_finds_gtube_and_its_link_releases_it(system: System, drop: Maildrop) -> None:
    assert drop.count() == 0  # a login by POP3
    (found,) = await_that("GTUBE in Junk", lambda: filed(system, drop))
    before = drop.count()
    system.parts()["api"].kill()  # it looks for digests when it starts
    system.await_whole()
    digest = drop.await_mail(before + 1, timeout=60)[-1]
    plain = next(iter(message_from_bytes(digest, policy=default).iter_parts())).get_content()
    assert "Scanned" in plain and "ann@sender.example" in plain
    (link,) = re.findall(r"http://127\.0\.0\.1:\d+/release/\S+", plain)
    page = httpx.get(link, timeout=BUSY_SECONDS, verify=False)
    assert page.status_code == 200 and "<form" in page.text
    assert drop.count() == before + 1, "following a link releases nothing"
    assert httpx.post(link, timeout=BUSY_SECONDS, verify=False).status_code == 200
    assert any(b"GTUBE" in each for each in drop.await_mail(before + 2))
    assert junk(system, drop) == []
    await_that("the event", lambda: "classified" in kinds(system, found["id"]))
