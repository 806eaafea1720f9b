"""What the operator lets each account send: a tenant's admin may lower it and not lift it."""

from __future__ import annotations

from typing import Any

import pytest

from posthorn.ports.api_keys import Role
from posthorn.ports.sending import Limits
from posthorn_api.sending.service import SendingLimits
from tests.support.api import Api, problem

ALICE = "/v1/accounts/alice@example.test"


pytestmark = pytest.mark.usefixtures("accounts")


@pytest.fixture
def api_options() -> dict[str, Any]:
    return {"limits": SendingLimits(account=Limits(100, None))}


async def test_a_tenants_key_does_not_lift_the_operators_limits(api: Api) -> None:
    (row,) = await api.sql("SELECT id FROM tenants WHERE name = 'default'")
    tenant = await api.key(Role.TENANT_ADMIN, row["id"])

    async def change(**fields: int | None) -> int:
        return (await api.client.patch(ALICE, json=fields, headers=tenant)).status_code

    answer = await api.client.patch(ALICE, json={"max_messages_per_hour": 101}, headers=tenant)
    assert "at most 100" in problem(answer, 422, "invalid", "max_messages_per_hour")["detail"]
    config = {"accounts": [{"address": "alice@example.test", "max_messages_per_hour": 2**31 - 1}]}
    assert "at most 100" in (await api.client.put("/v1/config", json=config, headers=tenant)).text
    assert (await api.client.get(ALICE)).json()["max_messages_per_hour"] is None
    assert [await change(max_messages_per_hour=n) for n in (100, 3, None)] == [200, 200, 200]
    assert await change(max_recipients_per_hour=2**31 - 1) == 200  # the operator sets none
    answer = await api.client.patch(ALICE, json={"max_messages_per_hour": 5000})
    assert (answer.status_code, answer.json()["max_messages_per_hour"]) == (200, 5000)
