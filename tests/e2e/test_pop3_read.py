"""A message comes in by SMTP, is read by poplib and imaplib, and its trace says so."""

from __future__ import annotations

import imaplib
import poplib
from collections.abc import Callable
from typing import Any

from tests.support.maildrop import Maildrop
from tests.support.polling import BUSY_SECONDS
from tests.support.system import System, await_that


def test_the_trace_of_a_message_tells_that_it_was_read_and_not_from_where(
    system: System, new_account: Callable[[], Maildrop]
) -> None:
    drop = new_account()
    system.send(b"From: a@example.org\r\nSubject: read me\r\n\r\nplease\r\n", drop.address)
    await_that("delivered", drop.count)
    (message,) = system.api.get(f"/v1/accounts/{drop.address}/messages").json()["items"]

    def trace() -> list[dict[str, Any]]:
        found = system.api.get(f"/v1/messages/{message['id']}/trace")
        return list(found.json()["items"]) if found.status_code == 200 else []

    client = poplib.POP3("127.0.0.1", system.ports["POP3"], timeout=BUSY_SECONDS)
    client.user(drop.address)
    client.pass_(drop.password)
    client.top(1, 0)
    for _ in range(2):
        assert b"please" in client.retr(1)[1]
    client.quit()
    await_that("read", lambda: [event for event in trace() if event["kind"] == "read"])
    kinds = [event["kind"] for event in trace() if event["kind"] != "scanned"]
    assert kinds == ["accepted", "delivered", "read"]
    detail = trace()[-1]["detail"]
    assert detail.keys() == {"account", "tenant"}
    assert detail["account"] == drop.address

    with imaplib.IMAP4("127.0.0.1", system.ports["IMAP"], timeout=BUSY_SECONDS) as reader:
        reader.login(drop.address, drop.password)
        reader.select("INBOX")
        reader.fetch("1", "(ENVELOPE BODY.PEEK[HEADER])")
        for _ in range(2):
            assert "please" in repr(reader.fetch("1", "(RFC822)"))
    await_that("read by IMAP", lambda: [each for each in trace() if each["kind"] == "read"][1:])
    last = [event for event in trace() if event["kind"] != "scanned"][3:]
    assert [(event["kind"], event["detail"]) for event in last] == [("read", detail)]
