"""Webhooks and their deliveries on Postgres, for their owners.

``updated_at`` changes only through the API; a webhook that begins to fail keeps its version.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.audit import former, write_audit
from posthorn.adapters.postgres.access.idempotency import keep_answer
from posthorn.adapters.postgres.access.listing import Listing, Order
from posthorn.adapters.postgres.access.tenant_scope import (
    MOVED,
    Scoped,
    check_version,
    hold_tenant,
    one,
    tenant_named,
    version_of,
)
from posthorn.adapters.postgres.conditions import Conditions
from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.adapters.postgres.directory.managers import (
    MANAGER,
    managed_by,
    mark_new,
    note_manager,
)
from posthorn.ports.changes import Versions
from posthorn.ports.errors import Conflict, FieldError, NotFound, ValidationFailed
from posthorn.ports.idempotency import Receipt
from posthorn.ports.listing import Listed, ListQuery
from posthorn.ports.webhooks import (
    MOST_COUNTED,
    MOST_REPLAYED,
    MOST_WEBHOOKS,
    Delivery,
    DeliveryState,
    NewDelivery,
    NewWebhook,
    Replayed,
    Webhook,
    WebhookState,
)

_OF_WEBHOOK = (
    "w.id, w.tenant_id, w.url, w.events, w.domain, w.state, w.created_at, w.updated_at, w.secret, t.name AS tenant_name,"
    f" {MANAGER}"
)
_JOIN = (
    "LEFT JOIN tenants t ON t.id = w.tenant_id LEFT JOIN managed_objects mo ON mo.webhook_id = w.id"
)
_SELECT = f"SELECT {_OF_WEBHOOK} FROM webhooks w {_JOIN}"
LISTENING = (
    f"{_SELECT} WHERE w.state <> 'paused' AND coalesce(t.state, 'active') = 'active' ORDER BY w.id"
)
"""Webhooks that receive events now: not those of a suspended tenant."""
_NAMED = Scoped(f"{_SELECT} WHERE {{visible}} AND w.id = $2", "w.tenant_id")
_LIST = Listing(
    "webhooks",
    "w",
    _OF_WEBHOOK,
    _JOIN,
    orders={"created": Order("w.id", UUID), "url": Order("w.url", str, "w.id", UUID)},
    searched=("w.url", "coalesce(w.domain, '')"),
    state="w.state",
    owner="w.tenant_id = {}",
)
_COLUMNS = (
    "v.id, v.webhook_id, v.event_type, v.event::text AS event, v.state, v.attempts, v.due_at, v.last_status, v.last_reply,"
    " v.created_at, v.closed_at"
)
_DELIVERIES = Listing(
    "webhook_deliveries",
    "v",
    _COLUMNS,
    orders={"created": Order("v.id", UUID)},
    searched=("v.event_type", "v.last_reply"),
    state="v.state",
    newest_first=True,
)
_DELIVERY = Scoped(
    f"SELECT {_COLUMNS} FROM webhook_deliveries v JOIN webhooks w ON w.id = v.webhook_id"
    " WHERE {visible} AND w.id = $2 AND v.id = $3",
    "w.tenant_id",
)
_REPLAY = (
    "UPDATE webhook_deliveries SET state = 'waiting', attempts = 0, due_at = now(), closed_at = NULL,"
    " last_status = NULL, last_reply = ''"
)
_REPLAY_FAILED = f"""
WITH failed AS MATERIALIZED (
    SELECT id FROM webhook_deliveries WHERE webhook_id = $1 AND state = 'failed'
     ORDER BY id LIMIT $2 FOR NO KEY UPDATE
), replayed AS (
    {_REPLAY} WHERE id = ANY (ARRAY (SELECT id FROM failed)) RETURNING 1
)
SELECT count(*) FROM replayed
"""
_COUNT_FAILED = """
SELECT count(*) FROM (
    SELECT FROM webhook_deliveries WHERE webhook_id = $1 AND state = 'failed' LIMIT $2
) AS failed
"""
_SETTABLE = ("url", "events", "domain", "state")
_ENTER = """
INSERT INTO webhook_deliveries (id, webhook_id, event_type, event)
SELECT n.id, n.webhook_id, n.event_type, n.event::jsonb
  FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS n (id, webhook_id, event_type, event)
  JOIN (SELECT id FROM webhooks WHERE id = ANY($2) ORDER BY id FOR KEY SHARE) AS w ON w.id = n.webhook_id
ON CONFLICT (id) DO NOTHING
"""


class PostgresWebhooks:
    """The port Webhooks over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        tenant: UUID | None,
        new: NewWebhook,
        owner: str | None,
        receipt: Receipt[Webhook] | None = None,
    ) -> Webhook:
        """Create one and return it as stored."""
        async with self._database.transaction() as connection:
            mine = tenant if owner is None else await tenant_named(connection, tenant, owner)
            if mine is not None:  # concurrent creations count one after the other
                await hold_tenant(connection, mine)
            number = await connection.fetchval(
                "SELECT count(*) FROM webhooks WHERE tenant_id IS NOT DISTINCT FROM $1", mine
            )
            if number >= MOST_WEBHOOKS:
                raise Conflict(f"there are already {number} webhooks; no more are allowed")
            await _check_domain(connection, mine, new.domain)
            await connection.execute(
                "INSERT INTO webhooks (id, tenant_id, url, secret, events, domain, state)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7)",
                *(new.id, mine, new.url, new.secret, list(new.events), new.domain, new.state.value),
            )
            await mark_new(connection, "webhook", new.id)
            entered = as_webhook(await one(connection, tenant, _NAMED, new.id))
            details = {"url": new.url, "events": new.events, "domain": new.domain}
            await write_audit(connection, mine, str(new.id), details)
            if receipt is not None:
                await keep_answer(connection, receipt.reservation, receipt.render(entered))
            return entered

    async def items(self, tenant: UUID | None, asked: ListQuery) -> Listed[Webhook]:
        """List by id."""
        async with self._database.transaction() as connection:
            return await _LIST.page(connection, tenant, asked, as_webhook)

    async def get(self, tenant: UUID | None, number: UUID) -> Webhook:
        """Return one."""
        async with self._database.session() as connection:
            return as_webhook(await one(connection, tenant, _NAMED, number))

    async def change(
        self,
        tenant: UUID | None,
        number: UUID,
        changes: Mapping[str, object],
        expected: Versions = None,
    ) -> Webhook:
        """Set the fields that ``changes`` names."""
        async with self._database.transaction() as connection:
            row = await one(connection, tenant, _NAMED + "FOR NO KEY UPDATE OF w", number)
            check_version(row, expected)
            setting = [column for column in _SETTABLE if column in changes]
            if not setting:
                return as_webhook(row)
            note_manager(row, setting)
            if "domain" in changes:
                await _check_domain(connection, row["tenant_id"], changes["domain"])
            places = ", ".join(
                f"{column} = ${place}" for place, column in enumerate(setting, start=2)
            )
            await connection.execute(
                f"UPDATE webhooks SET {places}, updated_at = {MOVED} WHERE id = $1",
                number,
                *(_stored(changes[column]) for column in setting),
            )
            if "state" in changes:
                await put_off(connection, number, is_paused=changes["state"] is WebhookState.PAUSED)
            details = {name: changes[name] for name in setting}
            await write_audit(
                connection, row["tenant_id"], str(number), details, before=former(row, setting)
            )
            return as_webhook(await one(connection, tenant, _NAMED, number))

    async def rotate(
        self,
        tenant: UUID | None,
        number: UUID,
        renew: Callable[[bytes], bytes],
        receipt: Receipt[Webhook] | None = None,
    ) -> Webhook:
        """Replace the encrypted secret by the result of ``renew``."""
        async with self._database.transaction() as connection:
            row = await one(connection, tenant, _NAMED + "FOR NO KEY UPDATE OF w", number)
            await connection.execute(
                f"UPDATE webhooks SET secret = $2, updated_at = {MOVED} WHERE id = $1",
                number,
                renew(row["secret"]),
            )
            rotated = as_webhook(await one(connection, tenant, _NAMED, number))
            await write_audit(connection, row["tenant_id"], str(number), {"secret": "changed"})
            if receipt is not None:
                await keep_answer(connection, receipt.reservation, receipt.render(rotated))
            return rotated

    async def delete(self, tenant: UUID | None, number: UUID, expected: Versions = None) -> None:
        """Remove one with its deliveries."""
        async with self._database.transaction() as connection:
            row = await one(connection, tenant, _NAMED + "FOR UPDATE OF w", number)
            check_version(row, expected)
            note_manager(row)
            await connection.execute("DELETE FROM webhooks WHERE id = $1", number)
            details = {"url": row["url"]}
            await write_audit(
                connection, row["tenant_id"], str(number), details, before=former(row, _SETTABLE)
            )

    async def deliveries(
        self, tenant: UUID | None, number: UUID, asked: ListQuery
    ) -> Listed[Delivery]:
        scope = Conditions()
        scope.add("v.webhook_id = {}", number)
        async with self._database.transaction() as connection:
            await one(connection, tenant, _NAMED, number)
            return await _DELIVERIES.page(connection, None, asked, _as_delivery, scope=scope)

    async def delivery(self, tenant: UUID | None, webhook: UUID, number: UUID) -> Delivery:
        """Return one."""
        async with self._database.session() as connection:
            return _as_delivery(await one(connection, tenant, _DELIVERY, webhook, number))

    async def replay(self, tenant: UUID | None, webhook: UUID, number: UUID) -> Delivery:
        """Send the delivery again."""
        async with self._database.transaction() as connection:
            owner = await self._awake(connection, tenant, webhook)
            await one(connection, tenant, _DELIVERY + "FOR NO KEY UPDATE OF v", webhook, number)
            await connection.execute(f"{_REPLAY} WHERE id = $1", number)
            await write_audit(connection, owner, str(webhook), {"delivery": str(number)})
            return _as_delivery(await one(connection, tenant, _DELIVERY, webhook, number))

    async def replay_failed(self, tenant: UUID | None, webhook: UUID) -> Replayed:
        """Send the failed deliveries again, as many as one request may."""
        async with self._database.transaction() as connection:
            owner = await self._awake(connection, tenant, webhook)
            done = await connection.fetchval(_REPLAY_FAILED, webhook, MOST_REPLAYED)
            left = 0
            if done == MOST_REPLAYED:
                left = await connection.fetchval(_COUNT_FAILED, webhook, MOST_COUNTED)
            await write_audit(connection, owner, str(webhook), {"replayed": done})
            return Replayed(done, left)

    async def enter(self, tenant: UUID | None, new: NewDelivery) -> Delivery:
        """Add a delivery."""
        async with self._database.transaction() as connection:
            owner = await self._awake(connection, tenant, new.webhook)
            await enter(connection, [new])
            await write_audit(connection, owner, str(new.webhook), {"delivery": str(new.id)})
            return _as_delivery(await one(connection, tenant, _DELIVERY, new.webhook, new.id))

    async def _awake(
        self, connection: Connection, tenant: UUID | None, number: UUID
    ) -> UUID | None:
        """Return the owner of a webhook. Raises NotFound; Conflict when it is paused."""
        try:
            row = await one(connection, tenant, _NAMED + "FOR KEY SHARE OF w", number)
        except NotFound:
            raise NotFound(f"there is no webhook {number}") from None
        if row["state"] == WebhookState.PAUSED.value:
            raise Conflict("the webhook is paused; activate it first")
        owner: UUID | None = row["tenant_id"]
        return owner


async def enter(connection: Connection, deliveries: Sequence[NewDelivery]) -> None:
    """Add deliveries of existing webhooks; existing deliveries are unchanged."""
    await connection.execute(
        _ENTER,
        [each.id for each in deliveries],
        [each.webhook for each in deliveries],
        [each.event_type for each in deliveries],
        [json.dumps(_cleaned(each.event)) for each in deliveries],
    )


async def put_off(connection: Connection, number: UUID, *, is_paused: bool) -> None:
    """Postpone waiting deliveries of a paused webhook; make them due now when it is active
    again."""
    when, only = (
        ("now() + interval '100 years'", "") if is_paused else ("now()", "AND due_at > now()")
    )
    await connection.execute(
        f"UPDATE webhook_deliveries SET due_at = {when} WHERE webhook_id = $1 AND state = 'waiting' {only}",
        number,
    )


def as_webhook(row: Any) -> Webhook:
    """Return the webhook of a row."""
    return Webhook(
        id=row["id"],
        tenant=row["tenant_id"],
        url=row["url"],
        events=tuple(row["events"]),
        domain=row["domain"],
        state=WebhookState(row["state"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        secret=row["secret"],
        tenant_name=row["tenant_name"],
        version=version_of(row),
        managed_by=managed_by(row),
    )


async def _check_domain(connection: Connection, owner: UUID | None, domain: object) -> None:
    """Raise ValidationFailed unless the domain is the owner's."""
    if domain is None:
        return
    query = "SELECT true FROM domains WHERE name = $1 AND ($2::uuid IS NULL OR tenant_id = $2)"
    if not await connection.fetchval(query, domain, owner):
        raise ValidationFailed(FieldError("domain", f"there is no domain {domain} here"))


def _as_delivery(row: Any) -> Delivery:
    return Delivery(
        id=row["id"],
        webhook=row["webhook_id"],
        event_type=row["event_type"],
        event=json.loads(row["event"]),
        state=DeliveryState(row["state"]),
        attempts=row["attempts"],
        due_at=row["due_at"],
        last_status=row["last_status"],
        last_reply=row["last_reply"],
        created_at=row["created_at"],
        closed_at=row["closed_at"],
    )


def _stored(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


def _cleaned(value: Any) -> Any:
    """Return the value without what JSONB refuses."""
    match value:
        case str():
            return clean_text(value)
        case float() if not math.isfinite(value):
            return None
        case list() | tuple():
            return [_cleaned(each) for each in value]
        case Mapping():
            return {clean_text(str(name)): _cleaned(each) for name, each in value.items()}
    return value
