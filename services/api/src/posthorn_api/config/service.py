"""Declarative configuration: reads what a tenant has, plans, and does what is planned through the
services behind the operations.

Rules:

- Everything is done as the tenant, by the same methods as one by one: the same checks, the same
  lines in the audit log.
- Each object is changed in the version that the plan was made for: whoever changes it meanwhile
  keeps his change, and the step fails.
- A step that fails does not stop the others. The same request again finds what is left.
- An account with mail is removed only when it is named in ``force``; that is looked at again just
  before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence, Set
from dataclasses import replace
from typing import Any

import structlog

from posthorn.model.filter_policy import readable
from posthorn.ports.access import digest_of, is_same_password
from posthorn.ports.accounts import Account
from posthorn.ports.aliases import Alias
from posthorn.ports.api_keys import ApiKey
from posthorn.ports.audit import Audit
from posthorn.ports.changes import Versions
from posthorn.ports.domains import Domain
from posthorn.ports.errors import Conflict, FieldError, PreconditionFailed, ValidationFailed
from posthorn.ports.filter_policies import UNSET, StoredPolicy
from posthorn.ports.imports import Imports
from posthorn.ports.listing import Key, Listed, ListQuery
from posthorn.ports.managers import Manager, Managers, conflict_of
from posthorn.ports.queue import Route
from posthorn.ports.tenants import Tenant
from posthorn.ports.webhooks import Webhook, WebhookState
from posthorn.runtime.audit_context import Applying, audit_context
from posthorn_api.config.apply import HAS_MAIL, Applier
from posthorn_api.config.documents import read_document, webhook_name
from posthorn_api.config.plan import (
    ACCOUNT,
    ALIAS,
    DELETE,
    DOMAIN,
    ROUTE,
    WEBHOOK,
    ByManager,
    Objects,
    Plan,
    Present,
    Step,
    Wanted,
    fields_of,
    planned,
    state_of,
)
from posthorn_api.config.schemas import MOST, ConfigDocument
from posthorn_api.credentials.service import CredentialService
from posthorn_api.directory.fields import address_in
from posthorn_api.directory.service import DirectoryService
from posthorn_api.filtering.service import FilteringService, of_account, of_domain
from posthorn_api.queue.service import QueueService
from posthorn_api.tenants.service import TenantService
from posthorn_api.webhooks.service import WebhookService

log = structlog.get_logger()

_PAGE = 500
_DEFAULT = "default"
_DOMAIN_FIELDS = (
    "catch_all",
    "plus_addressing",
    "max_accounts",
    "quota_bytes",
    "retention_days",
    "undelete_days",
    "account_forwards",
)
_SENDING_FIELDS = ("max_messages_per_hour", "max_recipients_per_hour")
_ROUTE_FIELDS = ("host", "port", "tls", "username", "connections", "messages_per_minute")


class ConfigService:
    """Raises ValidationFailed, NotFound, PreconditionFailed and Conflict for the caller's
    faults, Unavailable for ours."""

    def __init__(
        self,
        service: DirectoryService,
        tenancy: TenantService,
        hooks: WebhookService,
        outgoing: QueueService,
        identity: CredentialService,
        imports: Imports,
        audit: Audit,
        filtering: FilteringService,
        managers: Managers,
    ) -> None:
        self._managers = managers
        self._filtering = filtering
        self._service = service
        self._tenancy = tenancy
        self._hooks = hooks
        self._outgoing = outgoing
        self._identity = identity
        self._imports = imports
        self._audit = audit

    async def tenant(self, caller: ApiKey, named: str | None) -> Tenant:
        """Return the tenant that is meant; without a name the caller's, or ``default``."""
        own = _DEFAULT if caller.tenant is None else str(caller.tenant)
        return await self._tenancy.tenant(caller, named or own)

    async def present(self, caller: ApiKey, tenant: Tenant) -> tuple[Objects[Present], str]:
        """Return what the tenant has, and for the whole platform's keys the routes; and the mark
        of that state."""
        as_tenant = replace(caller, tenant=tenant.id)
        policies = await self._filtering.below(tenant.id)
        found: Objects[Present] = {
            DOMAIN: {
                each.name: _with_policy(_of_domain(each), policies.get(of_domain(each.name)))
                async for each in self._domains(as_tenant)
            },
            ACCOUNT: {
                each.address: _with_policy(
                    _of_account(each), policies.get(of_account(each.address))
                )
                async for each in self._accounts(as_tenant)
            },
            ALIAS: {each.address: _of_alias(each) async for each in self._aliases(as_tenant)},
            WEBHOOK: {},
        }
        async for webhook in self._webhooks(as_tenant):
            name = webhook_name(webhook.url, webhook.domain)
            # of two alike one is managed; the other is called by its id besides, so that it is
            # unlisted
            name = f"{name} {webhook.id}" if name in found[WEBHOOK] else name
            found[WEBHOOK][name] = _of_webhook(webhook)
        if caller.tenant is None:
            found[ROUTE] = {each.domain: _of_route(each) async for each in self._routes()}
        return found, state_of(found)

    async def put(
        self,
        caller: ApiKey,
        tenant: Tenant,
        document: ConfigDocument,
        expected: Versions,
        *,
        plan_only: bool,
        prune: bool,
        force: Set[str],
        manager: str | None = None,
        take_over: bool = False,
    ) -> tuple[Plan, str]:
        """Plan, and unless that is all, do it; mark what the document names as managed by
        ``manager``. Returns the plan with its outcomes, and the mark of the state that was found.
        """
        if document.routes is not None and caller.tenant is not None:
            raise ValidationFailed(FieldError("routes", "only platform admins may set routes"))
        wanted = read_document(document)
        for name, want in wanted.get(ACCOUNT, {}).items():
            if "password_hash" in want.values:
                try:
                    self._service.hash_in(None, want.values["password_hash"])
                except ValidationFailed as unfit:
                    fault = FieldError("password_hash", f"{name}: {unfit.faults[0].message}")
                    raise ValidationFailed(fault) from None
        forced = {address_in("force", each) for each in force}
        present, state = await self.present(caller, tenant)
        if expected is not None and state not in expected:
            raise PreconditionFailed("it has changed since it was read; read it again")
        as_tenant = replace(caller, tenant=tenant.id)
        await self._know_hashes(as_tenant, present, wanted)
        by = ByManager(tenant.id, manager)
        if manager is not None and not take_over:
            _check_marks(present, wanted, by)
        plan = planned(present, wanted, by, prune=prune)
        for step in plan.steps:
            if reason := _refusal(step, forced):
                step.outcome, step.detail = "failed", reason
        act = audit_context()
        if not plan_only:
            if manager is not None:
                if act is not None:
                    act.applying = Applying(tenant.id, manager)
                await self._managers.claim(
                    tenant.id,
                    manager,
                    _claims(present, wanted),
                    routes=caller.tenant is None,
                    take_over=take_over,
                )
            applier = Applier(
                as_tenant,
                caller,
                self._service,
                self._hooks,
                self._outgoing,
                self._identity,
                self._audit,
                self._filtering,
                forced,
                by,
                wanted,
            )
            await applier.run(plan)
        if act is not None:
            act.is_written = True  # each step wrote a line of its own
        return plan, state

    async def managers(self, caller: ApiKey, tenant: Tenant) -> Sequence[Manager]:
        """Return the managers of a tenant by name."""
        return await self._managers.all(tenant.id, routes=caller.tenant is None)

    async def release(self, caller: ApiKey, tenant: Tenant, manager: str) -> None:
        """Drop all marks of a manager."""
        await self._managers.release(tenant.id, manager, routes=caller.tenant is None)

    async def _know_hashes(
        self, caller: ApiKey, present: Objects[Present], wanted: Objects[Wanted]
    ) -> None:
        """Put the password hashes among what is there, where they are to be compared."""
        asked = [
            name
            for name, want in wanted.get(ACCOUNT, {}).items()
            if "password_hash" in want.values and name in present[ACCOUNT]
        ]
        for start in range(0, len(asked), _PAGE):
            known = await self._imports.known(caller.tenant, asked[start : start + _PAGE])
            for name, found in known.hashes.items():
                there = present[ACCOUNT][name]
                given = wanted[ACCOUNT][name].values["password_hash"]
                if is_same_password(digest_of(given), found, known.rehashed.get(name)):
                    found = given  # a login has replaced it
                present[ACCOUNT][name] = replace(
                    there, values={**there.values, "password_hash": found}
                )

    def _domains(self, caller: ApiKey) -> AsyncIterator[Domain]:
        return _all(lambda asked: self._service.domains(caller, asked))

    def _accounts(self, caller: ApiKey) -> AsyncIterator[Account]:
        return _all(lambda asked: self._service.accounts(caller, asked))

    def _aliases(self, caller: ApiKey) -> AsyncIterator[Alias]:
        found = _all(lambda asked: self._service.aliases(caller, asked))
        return (alias async for alias in found if alias.account_copy is None)

    def _webhooks(self, caller: ApiKey) -> AsyncIterator[Webhook]:
        return _all(lambda asked: self._hooks.items(caller, asked))

    def _routes(self) -> AsyncIterator[Route]:
        return _all(self._outgoing.routes)


def _check_marks(present: Objects[Present], wanted: Objects[Wanted], by: ByManager) -> None:
    """Raise Conflict when the document names objects of other managers."""
    held = [
        f"{kind} {name} by {there.managed_by.manager}"
        for kind, named in wanted.items()
        for name in named
        if (there := present.get(kind, {}).get(name)) is not None
        and there.managed_by is not None
        and not by.has(there)
    ]
    if held:
        raise conflict_of(held)


def _claims(
    present: Objects[Present], wanted: Objects[Wanted]
) -> dict[str, dict[str, tuple[str, ...]]]:
    return {
        kind: {
            str(present[kind][name].handle) if kind == WEBHOOK else name: fields_of(want)
            for name, want in named.items()
            if name in present[kind]
        }
        for kind, named in wanted.items()
    }


def _refusal(step: Step, forced: Set[str]) -> str | None:
    if step.kind == ACCOUNT and step.action == DELETE and step.present is not None:
        has_mail = step.present.handle
        return HAS_MAIL if has_mail and step.name not in forced else None
    return None


def _of_domain(domain: Domain) -> Present:
    values = {name: getattr(domain, name) for name in _DOMAIN_FIELDS}
    return Present({**values, **_sending(domain)}, domain.version, managed_by=domain.managed_by)


def _of_account(account: Account) -> Present:
    values = {
        "quota_bytes": account.quota_bytes,
        "state": account.state.value,
        **_sending(account),
        "save_sent": account.save_sent,
        "hidden_imap_capabilities": list(account.imap_hidden),
    }
    return Present(values, account.version, account.used_messages, account.managed_by)


def _with_policy(present: Present, stored: StoredPolicy | None) -> Present:
    policy = (readable(stored.document) or None) if stored else None
    return replace(
        present,
        values={**present.values, "filter_policy": policy},
        policy_version=stored.version if stored else UNSET,
    )


def _sending(holder: Domain | Account) -> dict[str, Any]:
    networks = holder.sending.allowed_networks
    values = {name: getattr(holder.sending, name) for name in _SENDING_FIELDS}
    return {**values, "allowed_networks": None if networks is None else list(networks)}


def _of_alias(alias: Alias) -> Present:
    return Present({"targets": list(alias.targets)}, alias.version, managed_by=alias.managed_by)


def _of_webhook(webhook: Webhook) -> Present:
    state = "paused" if webhook.state is WebhookState.PAUSED else "active"
    values = {
        "url": webhook.url,
        "domain": webhook.domain,
        "events": list(webhook.events),
        "state": state,
    }
    return Present(values, webhook.version, webhook.id, webhook.managed_by)


def _of_route(route: Route) -> Present:
    values = {name: getattr(route, name) for name in _ROUTE_FIELDS}
    return Present(values, repr(sorted(values.items())), managed_by=route.managed_by)


async def _all[T](read: Callable[[ListQuery], Awaitable[Listed[T]]]) -> AsyncIterator[T]:
    """Yield all pages. Raises Conflict when there is more than a document can hold."""
    after: Key | None = None
    number = 0
    while True:
        found = await read(ListQuery(_PAGE, after))
        for each in found.items:
            number += 1
            if number > MOST:
                raise Conflict(
                    f"more than {MOST} objects of a kind do not fit into one document; use the lists and imports"
                )
            yield each
        if (after := found.last) is None:
            return
