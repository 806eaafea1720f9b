"""What owners taught decides where delivery files a copy, for their account and tenant only."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from posthorn.adapters.postgres.mailboxes.stored_models import pack_model
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.events import FILED
from posthorn.model.verdict import Rule, Verdict
from posthorn.runtime.ids import new_id
from posthorn.wire.spam.bayes import EMPTY, Lesson
from posthorn.wire.spam.facts import read_facts
from posthorn.wire.spam.tokens import tokens_of
from posthorn_local.embedded import Nats
from tests.support.delivery_env import DeliveryEnv, delivery_env
from tests.support.spam import message

OFFER = message("cheap pills casino winner viagra bargain lottery million", {"Subject": "Offer"})
MINUTES = message("agenda minutes meeting project quarterly budget review", {"Subject": "Notes"})


@pytest.fixture
async def env(nats: Nats, database_url: str, tmp_path: Path) -> Any:
    async with delivery_env(nats, database_url, tmp_path) as opened:
        yield opened


def verdict(points: float) -> Verdict:
    return Verdict(time.time(), rules=(Rule("TEST_RULE", points),))


async def teach(env: DeliveryEnv, account: int | None, count: int) -> None:
    tokens = [(tokens_of(read_facts(body)), body is OFFER) for body in (OFFER, MINUTES)]
    model = EMPTY.taught([Lesson(*each) for each in tokens] * count)
    await env.seed.rows(
        "INSERT INTO bayes_models (tenant_id, account_id, spam_messages, ham_messages, tokens)"
        " VALUES ($1, $2, $3, $3, $4)",
        *(DEFAULT_TENANT, account, count, pack_model(model)),
    )


async def boxes(env: DeliveryEnv, account: int) -> list[int]:
    query = "SELECT mailbox_id FROM mailbox_entries WHERE account_id = $1 ORDER BY message_id"
    return [row[0] for row in await env.seed.rows(query, account)]


async def test_taught_points_file_a_copy_and_are_named(env: DeliveryEnv) -> None:
    taught, beside = await env.seed.accounts(2)
    other = new_id()
    await env.seed.rows("INSERT INTO tenants (id, name) VALUES ($1, 'other')", other)
    await env.seed.rows("INSERT INTO domains (tenant_id, name) VALUES ($1, 'far.test')", other)
    foreign = await env.seed.account("eve@far.test")
    await teach(env, taught, 600)
    await teach(env, None, 60)
    everybody = ("user0@example.test", "user1@example.test", "eve@far.test")
    sent = await env.send(OFFER, *everybody, verdict=verdict(3))
    await env.send_large(OFFER, *everybody, verdict=verdict(3))
    await env.send(MINUTES, *everybody, verdict=verdict(7))
    await env.send(OFFER, *everybody)
    await env.deliver(4)
    assert await boxes(env, taught) == [2, 2, 1, 1], "without a verdict it does not count"
    assert await boxes(env, beside) == [1, 1, 1, 1], "2 points of the tenant are not enough"
    assert await boxes(env, foreign) == [1, 1, 2, 1]
    ((detail,),) = [
        [each for kind, each in env.events.details_of(sent.id) if kind == FILED],
    ]
    assert detail["score"] == 10.0
    assert "7 of them by BAYES_ACCOUNT" in detail["rule"]
    await env.seed.sums_hold()
