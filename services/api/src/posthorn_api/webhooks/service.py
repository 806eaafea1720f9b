"""What the API decides about webhooks."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit
from uuid import UUID

from posthorn.model.events import Event
from posthorn.model.ip_addresses import PUBLIC_ADDRESSES, AddressPolicy
from posthorn.ports.api_keys import ApiKey
from posthorn.ports.changes import Versions
from posthorn.ports.errors import FieldError, NotFound, ValidationFailed
from posthorn.ports.idempotency import Receipt
from posthorn.ports.listing import Listed, ListQuery
from posthorn.ports.secrets import SecretStore
from posthorn.ports.webhooks import (
    Delivery,
    NewDelivery,
    NewWebhook,
    Replayed,
    Webhook,
    Webhooks,
    WebhookState,
)
from posthorn.runtime.ids import new_id
from posthorn.runtime.secret_box import DecryptionFailed
from posthorn_api.directory.fields import domain_in
from posthorn_api.webhooks.matching import ANY, KINDS, TEST, document
from posthorn_api.webhooks.signing import new_secret, rotated, write_secrets

_LONGEST_URL = 2000


class WebhookService:
    """Every method takes the caller's key and sees what its tenant sees.

    Raises ValidationFailed, NotFound, PreconditionFailed and Conflict for the caller's faults,
    Unavailable for ours.
    """

    def __init__(
        self,
        webhooks: Webhooks,
        secret_box: SecretStore,
        *,
        wake: Callable[[], None] = lambda: None,
        policy: AddressPolicy = PUBLIC_ADDRESSES,
    ) -> None:
        self._webhooks = webhooks
        self._secret_box = secret_box
        self._wake = wake
        self._policy = policy

    async def create(
        self,
        caller: ApiKey,
        url: str,
        events: Sequence[str],
        domain: str | None,
        tenant: str | None,
        receipt: Receipt[Webhook] | None = None,
        *,
        state: WebhookState = WebhookState.ACTIVE,
    ) -> tuple[Webhook, str]:
        """Make one; returns it with its secret, which nobody can be told again."""
        number, secret = new_id(), new_secret()
        encrypted = self._secret_box.encrypt(write_secrets(secret), _context(number))
        name = None if domain is None else domain_in("domain", domain)
        new = NewWebhook(number, self.fit_url(url), _fit_events(events), name, encrypted, state)
        return await self._webhooks.create(caller.tenant, new, tenant, receipt), secret.shown

    async def items(self, caller: ApiKey, asked: ListQuery) -> Listed[Webhook]:
        """List webhooks."""
        return await self._webhooks.items(caller.tenant, asked)

    async def get(self, caller: ApiKey, number: UUID) -> Webhook:
        """Return one."""
        try:
            return await self._webhooks.get(caller.tenant, number)
        except NotFound:
            raise _missing(number) from None

    async def change(
        self, caller: ApiKey, number: UUID, changes: Mapping[str, object], expected: Versions = None
    ) -> Webhook:
        """Set the fields that ``changes`` names."""
        values = dict(changes)
        if "url" in values:
            values["url"] = self.fit_url(str(values["url"]))
        if isinstance(events := values.get("events"), list | tuple):
            values["events"] = _fit_events(events)
        if values.get("domain") is not None:
            values["domain"] = domain_in("domain", str(values["domain"]))
        if "state" in values:
            values["state"] = WebhookState(values["state"])
        try:
            changed = await self._webhooks.change(caller.tenant, number, values, expected)
        except NotFound:
            raise _missing(number) from None
        self._wake()
        return changed

    async def rotate(
        self, caller: ApiKey, number: UUID, receipt: Receipt[Webhook] | None = None
    ) -> tuple[Webhook, str]:
        """Return it a new secret. The one before signs beside it for a day."""
        shown: list[str] = []

        def renew(encrypted: bytes) -> bytes:
            try:
                before = self._secret_box.decrypt(encrypted, _context(number))
            except DecryptionFailed:
                # the key that encrypted it is gone: nothing can sign beside the new one
                before = b"[]"
            made, secret = rotated(before, time.time())
            shown.append(secret.shown)
            return self._secret_box.encrypt(made, _context(number))

        try:
            webhook = await self._webhooks.rotate(caller.tenant, number, renew, receipt)
        except NotFound:
            raise _missing(number) from None
        return webhook, shown[-1]

    async def delete(self, caller: ApiKey, number: UUID, expected: Versions = None) -> None:
        """Remove one with its deliveries."""
        try:
            await self._webhooks.delete(caller.tenant, number, expected)
        except NotFound:
            raise _missing(number) from None

    async def deliveries(self, caller: ApiKey, number: UUID, asked: ListQuery) -> Listed[Delivery]:
        """Return a page of what it was told."""
        try:
            return await self._webhooks.deliveries(caller.tenant, number, asked)
        except NotFound:
            raise _missing(number) from None

    async def delivery(self, caller: ApiKey, webhook: UUID, number: UUID) -> Delivery:
        """Return one."""
        try:
            return await self._webhooks.delivery(caller.tenant, webhook, number)
        except NotFound:
            raise NotFound(f"there is no delivery {number}") from None

    async def replay(self, caller: ApiKey, webhook: UUID, number: UUID) -> Delivery:
        """Have one sent again, under the id it has."""
        try:
            delivery = await self._webhooks.replay(caller.tenant, webhook, number)
        except NotFound as missing:
            raise missing if missing.args else NotFound(f"there is no delivery {number}") from None
        self._wake()
        return delivery

    async def replay_failed(self, caller: ApiKey, webhook: UUID) -> Replayed:
        """Have those that failed sent again, as many as one request may."""
        replayed = await self._webhooks.replay_failed(caller.tenant, webhook)
        self._wake()
        return replayed

    async def test(self, caller: ApiKey, number: UUID, identity: UUID) -> Delivery:
        """Have an event of the type ``test`` sent. ``identity`` becomes the delivery's, so that
        a repeat makes no second one."""
        event = document(Event(identity, time.time(), TEST, {}))
        delivery = await self._webhooks.enter(
            caller.tenant, NewDelivery(identity, number, TEST, event)
        )
        self._wake()
        return delivery

    def fit_url(self, text: str) -> str:
        """Return the URL. Raises ValidationFailed for one that no webhook may have.

        What its name leads to is checked with each delivery.
        """
        try:
            if len(text) > _LONGEST_URL or not all("!" <= character <= "~" for character in text):
                raise ValueError(f"a URL may have at most {_LONGEST_URL} visible ASCII characters")
            parts = urlsplit(text)
            if parts.scheme not in ("https", "http") or not parts.hostname:
                raise ValueError("must be https://host/… or http://host/…")
            if "@" in parts.netloc or parts.fragment or "\\" in text:
                raise ValueError("must not contain a login or a fragment")
            if parts.port == 0:
                raise ValueError("the port must be between 1 and 65535")
            self._check_host(parts.hostname)
        except ValueError as error:
            raise ValidationFailed(FieldError("url", str(error))) from None
        return text

    def _check_host(self, host: str) -> None:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return  # a name; the connection looks it up
        if "%" in host or not self._policy.allows(host):
            raise ValueError("webhooks may not be sent to this address")


def _context(number: UUID) -> str:
    return f"webhook:{number}"


def _missing(number: UUID) -> NotFound:
    return NotFound(f"there is no webhook {number}")


def _fit_events(events: Sequence[object]) -> tuple[str, ...]:
    named = [str(each) for each in events]
    faults = [
        FieldError(
            f"events[{place}]",
            f"there is no event {name!r}; there are {', '.join(KINDS)}, and {ANY} for all",
        )
        for place, name in enumerate(named)
        if name not in (*KINDS, ANY)
    ]
    if faults:
        raise ValidationFailed(*faults)
    return (ANY,) if ANY in named else tuple(kind for kind in KINDS if kind in named)
