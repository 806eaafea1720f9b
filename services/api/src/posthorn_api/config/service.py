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

from collections.abc import AsyncIterator, Awaitable, Callable, Set
from dataclasses import replace
from ipaddress import ip_network
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
from posthorn.ports.queue import Route
from posthorn.ports.tenants import Tenant
from posthorn.ports.webhooks import Webhook, WebhookState
from posthorn.runtime.audit_context import audit_context
from posthorn_api.config.apply import HAS_MAIL, Applier
from posthorn_api.config.plan import (
    ACCOUNT,
    ALIAS,
    DELETE,
    DOMAIN,
    ROUTE,
    WEBHOOK,
    Objects,
    Plan,
    Present,
    Step,
    Wanted,
    planned,
    state_of,
)
from posthorn_api.config.schemas import MOST, ConfigDocument
from posthorn_api.credentials.service import CredentialService
from posthorn_api.directory.service import DirectoryService, address_in, domain_in, targets_in
from posthorn_api.filtering.service import FilteringService, of_account, of_domain, policy_in
from posthorn_api.queue.service import QueueService, route_domain_in
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
    ) -> None:
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
            name = _webhook_name(webhook.url, webhook.domain)
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
    ) -> tuple[Plan, str]:
        """Plan, and unless that is all, do it. Returns the plan with its outcomes, and the mark
        of the state that was found."""
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
        plan = planned(present, wanted, prune=prune)
        for step in plan.steps:
            if reason := _refusal(step, forced):
                step.outcome, step.detail = "failed", reason
        if not plan_only:
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
            )
            await applier.run(plan)
        if (act := audit_context()) is not None:
            act.is_written = True  # each step wrote a line of its own
        return plan, state

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


def read_document(document: ConfigDocument) -> Objects[Wanted]:
    """Return what a document wants, by names in canonical form. Raises ValidationFailed, naming
    every field that cannot be taken."""
    wanted: Objects[Wanted] = {}
    faults: list[FieldError] = []
    lists = (
        (DOMAIN, "domains", document.domains),
        (ACCOUNT, "accounts", document.accounts),
        (ALIAS, "aliases", document.aliases),
        (WEBHOOK, "webhooks", document.webhooks),
        (ROUTE, "routes", document.routes),
    )
    for kind, plural, items in lists:
        if items is None:
            continue
        named: dict[str, Wanted] = {}
        for number, item in enumerate(items):
            values = item.model_dump(exclude_unset=kind not in (ROUTE, WEBHOOK))
            if kind == WEBHOOK and "state" not in item.model_fields_set:
                del values["state"]
            try:
                name, want = _read(kind, values)
            except ValidationFailed as unfit:
                faults += [
                    FieldError(f"{plural}[{number}].{each.field}", each.message)
                    for each in unfit.faults
                ]
                continue
            if name in named:
                faults.append(FieldError(f"{plural}[{number}]", f"{name} is given twice"))
            named[name] = Wanted(want)
        wanted[kind] = named
    if faults:
        raise ValidationFailed(*faults)
    return wanted


def _read(kind: str, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    match kind:
        case "domain":
            name = domain_in("name", values.pop("name"))
            if values.get("catch_all") is not None:
                values["catch_all"] = address_in("catch_all", values["catch_all"])
            return name, _canonical(values)
        case "account":
            name = address_in("address", values.pop("address"))
            if values.get("password_hash", "") is None:
                del values["password_hash"]
            return name, _canonical(values)
        case "alias":
            return address_in("address", values["address"]), {
                "targets": targets_in(values["targets"])
            }
        case "webhook":
            if values["domain"] is not None:
                values["domain"] = domain_in("domain", values["domain"])
            if "*" in values["events"]:
                values["events"] = ["*"]
            return _webhook_name(values["url"], values["domain"]), values
    name = values.pop("domain")
    return route_domain_in(name), values


def _canonical(values: dict[str, Any]) -> dict[str, Any]:
    """Return networks and policies as they are stored, to compare them. Raises ValidationFailed."""
    if values.get("filter_policy") is not None:
        values["filter_policy"] = policy_in(values["filter_policy"], "filter_policy.") or None
    if values.get("allowed_networks"):
        try:
            values["allowed_networks"] = [
                str(ip_network(each)) for each in values["allowed_networks"]
            ]
        except ValueError as error:
            raise ValidationFailed(
                FieldError("allowed_networks", f"not a network such as 192.0.2.0/24: {error}")
            ) from None
    return values


def _refusal(step: Step, forced: Set[str]) -> str | None:
    if step.kind == ACCOUNT and step.action == DELETE and step.present is not None:
        has_mail = step.present.handle
        return HAS_MAIL if has_mail and step.name not in forced else None
    return None


def _webhook_name(url: str, domain: str | None) -> str:
    return url if domain is None else f"{url} {domain}"


def _of_domain(domain: Domain) -> Present:
    values = {name: getattr(domain, name) for name in _DOMAIN_FIELDS}
    return Present({**values, **_sending(domain)}, domain.version)


def _of_account(account: Account) -> Present:
    values = {
        "quota_bytes": account.quota_bytes,
        "state": account.state.value,
        **_sending(account),
        "save_sent": account.save_sent,
        "hidden_imap_capabilities": list(account.imap_hidden),
    }
    return Present(values, account.version, account.used_messages)


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
    return Present({"targets": list(alias.targets)}, alias.version)


def _of_webhook(webhook: Webhook) -> Present:
    state = "paused" if webhook.state is WebhookState.PAUSED else "active"
    values = {
        "url": webhook.url,
        "domain": webhook.domain,
        "events": list(webhook.events),
        "state": state,
    }
    return Present(values, webhook.version, webhook.id)


def _of_route(route: Route) -> Present:
    values = {name: getattr(route, name) for name in _ROUTE_FIELDS}
    return Present(values, repr(sorted(values.items())))


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
