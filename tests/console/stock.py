"""Objects of each kind, so that no screen is looked at while it is empty."""

from __future__ import annotations

from typing import Any

from tests.support.system import System, await_that

GTUBE = (
    b"From: stranger@example.org\r\nTo: bob@example.test\r\nSubject: Test\r\n\r\n"
    b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n"
)
"""A message that every spam filter knows."""


def stock(posthorn: System) -> dict[str, str]:
    """Create one object of each kind. Return the ids of those that are named by ids."""
    _make(posthorn, "accounts", address="careful@example.test", password="a password for tests")
    policy = {"spam_action": "quarantine"}
    posthorn.api.put("/v1/accounts/careful@example.test/filter-policy", json=policy)
    _make(posthorn, "accounts/careful@example.test/app-passwords", name="phone", scopes=["imap"])
    _make(posthorn, "aliases", address="team@example.test", targets=["bob@example.test"])
    _make(posthorn, "suppressions", address="gone@example.org", reason="by hand")
    _make(posthorn, "routes", domain="routed.example", host="127.0.0.1", port=9)
    _make(posthorn, "tenants", name="north", max_domains=3)
    webhook = _make(posthorn, "webhooks", url="https://hooks.example.org/mail", events=["bounced"])
    _make(posthorn, f"webhooks/{webhook['id']}/test")
    return {"webhook": webhook["id"], "quarantined": quarantine(posthorn)}


def quarantine(posthorn: System) -> str:
    """Have a message withheld from careful@example.test. Return the id of its copy."""
    before = {each["id"] for each in _withheld(posthorn)}
    posthorn.send(GTUBE, "careful@example.test", sender="stranger@example.org")

    def found() -> str | None:
        return next((each["id"] for each in _withheld(posthorn) if each["id"] not in before), None)

    return await_that("it is withheld", found)


def _withheld(posthorn: System) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = posthorn.api.get("/v1/quarantine").json()["items"]
    return found


def _make(posthorn: System, noun: str, **fields: object) -> dict[str, Any]:
    answer = posthorn.api.post(f"/v1/{noun}", json=fields or None)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made
