"""What an account has to say of IMAP: copies of what it sends, and capabilities that are hidden."""

from __future__ import annotations

import pytest

from tests.support.api import Api, problem

ALICE = "/v1/accounts/alice@example.test"


pytestmark = pytest.mark.usefixtures("accounts")


async def test_an_account_hides_capabilities_by_their_names(api: Api) -> None:
    account = (await api.client.get(ALICE)).json()
    assert (account["save_sent"], account["hidden_imap_capabilities"]) == (False, [])
    changed = await api.client.patch(
        ALICE,
        json={"save_sent": True, "hidden_imap_capabilities": ["qresync", "UTF8=accept", "QRESYNC"]},
    )
    assert changed.status_code == 200, changed.text
    assert changed.json()["hidden_imap_capabilities"] == ["QRESYNC", "UTF8=ACCEPT"]
    (row,) = await api.sql(
        "SELECT save_sent, imap_hidden FROM accounts WHERE address LIKE 'alice@%'"
    )
    assert (row["save_sent"], row["imap_hidden"]) == (True, ["QRESYNC", "UTF8=ACCEPT"])
    lines = (await api.client.get("/v1/audit", params={"action": "account.change"})).json()["items"]
    assert lines[0]["object"] == "alice@example.test"
    other = await api.client.patch(ALICE, json={"quota_bytes": None})
    assert other.json()["save_sent"] is True
    answer = await api.client.patch(ALICE, json={"hidden_imap_capabilities": ["FASTER"]})
    assert "IMAP4rev2" in problem(answer, 422, "invalid", "hidden_imap_capabilities")["detail"]
    emptied = await api.client.patch(
        ALICE, json={"save_sent": False, "hidden_imap_capabilities": []}
    )
    assert (emptied.json()["save_sent"], emptied.json()["hidden_imap_capabilities"]) == (False, [])
