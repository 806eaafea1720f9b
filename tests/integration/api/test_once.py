"""Every POST, made twice under one Idempotency-Key: generated from the table of operations and its
examples.

A repeat answers the same and changes nothing, in the database or beside it. What is shown once only
is not shown again.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from posthorn.model.directory_entry import RecipientStatus
from posthorn.model.envelope import Envelope
from posthorn.ports.ingest import Parked
from posthorn.ports.route_probes import ProbeReport, RouteProbe
from posthorn.wire.address import Address
from posthorn_api.http import permissions as access
from tests.integration.api.test_tenancy import ACCOUNT, EXAMPLES, TABLE, call, tenant_objects
from tests.support.api import Api

PLANS = ("planAccountImport", "planAliasImport")
POSTS = [
    name
    for name, route in TABLE.items()
    # signing in twice makes two sessions: it takes no Idempotency-Key; plans change nothing
    if "POST" in (route.methods or ()) and name not in ("createLogin", *PLANS)
]
BEFORE = {"releaseQueued": "holdQueued", "releaseAllQueued": "holdAllQueued"}
"""What must be done first, for there to be something to do."""
SHOWN_ONCE = ("key", "password", "secret", "payload")
ONCE = {"Idempotency-Key": "once"}
HOLDER = {"Authorization": f"Basic {b64encode(b'alice@ours.test:correct horse').decode()}"}
"""The holder of the account itself, for what holders alone may do."""


@dataclass
class Elsewhere:
    """What the API works with over NATS: it counts what it is told to do."""

    done: list[str] = field(default_factory=list)

    async def standing(self, address: Address) -> RecipientStatus:
        return RecipientStatus.FOREIGN

    async def postmaster(self, domain: str) -> Address | None:
        return None

    async def accept(self, envelope: Envelope, body: bytes | None) -> None:
        self.done.append(f"accept {envelope.id}")

    async def probe(self) -> None: ...

    async def park(
        self, data: bytes, message_id: str, reason: str, subject: str = "", stored_as: str = ""
    ) -> None:
        self.done.append("park")

    async def parked(self, after: int, limit: int) -> Sequence[Parked]:
        return []

    async def retry(self, sequence: int) -> bool:
        self.done.append(f"retry {sequence}")
        return True

    async def discard(self, sequence: int) -> bool:
        self.done.append(f"discard {sequence}")
        return True


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


class CountedProbes:
    """A relay that counts the probes."""

    def __init__(self, done: list[str]) -> None:
        self._done = done

    async def probe(self, asked: RouteProbe) -> ProbeReport:
        self._done.append(f"probe {asked.route}")
        return ProbeReport((), None, 0.0)


@pytest.fixture
async def api(api: Api, elsewhere: Elsewhere) -> Api:
    api.dead.set(elsewhere)
    api.late.route_probes.set(CountedProbes(elsewhere.done))
    api.directory.set(elsewhere)
    api.ingest.set(elsewhere)
    return api


async def everything(api: Api) -> dict[str, str | None]:
    """What the database holds, table by table."""
    tables = await api.sql(
        "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
    )
    # a sign-in is written a little later
    passing = ("idempotency_keys", "sign_ins", "familiar_places")
    row = "to_jsonb(t) - ARRAY['last_used_at', 'last_used_address', 'last_used_protocol']"
    held = " UNION ALL ".join(
        f"SELECT '{name}' AS name, string_agg(({row})::text, ' ' ORDER BY t::text) AS rows FROM {name} t"
        for (name,) in tables
        if name not in passing
    )
    return {found["name"]: found["rows"] for found in await api.sql(held)}


def shown(answer: httpx.Response) -> tuple[int, Any, dict[str, str]]:
    """An answer, without what is shown once only."""
    document = json.loads(answer.content) if answer.content else None
    if isinstance(document, dict):
        document = {name: value for name, value in document.items() if name not in SHOWN_ONCE}
    named = ("location", "etag", "content-type")
    return (
        answer.status_code,
        document,
        {name: answer.headers[name] for name in named if name in answer.headers},
    )


@pytest.mark.parametrize("operation", POSTS)
async def test_a_repeat_answers_the_same_and_does_nothing(
    api: Api, elsewhere: Elsewhere, operation: str
) -> None:
    objects = await tenant_objects(api, "ours")
    admin = objects.shows["platform-admin"]
    caller = HOLDER if EXAMPLES[operation].who == ACCOUNT else admin
    # the test has put a message there by hand
    await api.sql("UPDATE mailboxes SET uidnext = 2 WHERE mailbox_id = 1")
    if operation in BEFORE:
        assert (await call(api, BEFORE[operation], objects, admin)).status_code < 300
    untouched, undone = await everything(api), list(elsewhere.done)

    first = await call(api, operation, objects, caller | ONCE)
    assert first.status_code < 300, first.text
    done, told = await everything(api), list(elsewhere.done)
    assert (done, told) != (untouched, undone), (
        "the example does nothing: it shows nothing of a repeat"
    )

    again = await call(api, operation, objects, caller | ONCE)
    left = await everything(api)
    assert elsewhere.done == told
    # what is there already is left as it is, and the answer says so of each
    if access.RULES[operation].streams:
        assert again.status_code == first.status_code
        assert {**left, "audit": None} == {**done, "audit": None}
        return
    assert left == done
    assert shown(again) == shown(first)
    assert again.headers["idempotency-replayed"] == "true"
    for name in SHOWN_ONCE:
        assert not again.content or again.json().get(name) is None, "a secret is kept"
