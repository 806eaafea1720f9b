"""Declarative configuration: doing what is planned, step by step, through the services behind
the operations."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Set
from dataclasses import replace
from typing import Any
from uuid import UUID

from posthorn.ports.accounts import AccountState
from posthorn.ports.api_keys import ApiKey
from posthorn.ports.audit import Audit
from posthorn.ports.changes import Versions
from posthorn.ports.domains import NewDomain
from posthorn.ports.errors import Conflict, NotFound, PreconditionFailed, ValidationFailed
from posthorn.ports.filter_policies import PolicyOwner
from posthorn.ports.queue import Route
from posthorn.ports.webhooks import WebhookState
from posthorn.runtime.audit_context import Applying, audit_context, enter_audit_context
from posthorn_api.config.plan import (
    ACCOUNT,
    ALIAS,
    CHANGE,
    CREATE,
    DELETE,
    DOMAIN,
    ROUTE,
    WEBHOOK,
    ByManager,
    Objects,
    Plan,
    Step,
    Wanted,
    fields_of,
)
from posthorn_api.credentials.service import CredentialService
from posthorn_api.directory.service import DirectoryService
from posthorn_api.filtering.service import FilteringService, of_account, of_domain
from posthorn_api.queue.service import QueueService
from posthorn_api.webhooks.service import WebhookService

_POLICY = "filter_policy"
HAS_MAIL = "the account has mail; list it in force to delete it with its mail"


class Applier:
    """Does the steps of a plan as ``caller``, the tenant's; ``real`` is who asked."""

    def __init__(
        self,
        caller: ApiKey,
        real: ApiKey,
        service: DirectoryService,
        hooks: WebhookService,
        outgoing: QueueService,
        identity: CredentialService,
        audit: Audit,
        filtering: FilteringService,
        forced: Set[str],
        by: ByManager,
        wanted: Objects[Wanted],
    ) -> None:
        self._by = by
        self._wanted = wanted
        self._filtering = filtering
        self._caller = caller
        self._real = real
        self._service = service
        self._hooks = hooks
        self._outgoing = outgoing
        self._identity = identity
        self._audit = audit
        self._forced = forced
        self._unusable = ""
        self._made: dict[str, str] = {}

    async def run(self, plan: Plan) -> None:
        """Do them in their order; a catch-all of a new domain comes when what it leads to is
        there."""
        late = [
            Step(DOMAIN, step.name, CHANGE, {"catch_all": step.fields["catch_all"]})
            for step in plan.steps
            if (step.kind, step.action) == (DOMAIN, CREATE) and step.fields.get("catch_all")
        ]
        whole = {step.name: step for step in plan.steps if step.kind == DOMAIN}
        for step in sorted([*plan.steps, *late], key=lambda each: each.phase):
            known = whole[step.name] if step in late else step
            if known.outcome == "failed":
                continue
            await self._do(step)
            known.outcome, known.detail = step.outcome, step.detail

    async def _do(self, step: Step) -> None:
        request = audit_context()
        try:
            if request is None:
                await self._work(step)
            else:
                want = self._wanted[step.kind].get(step.name)
                applying = Applying(
                    self._by.tenant, self._by.name, () if want is None else fields_of(want)
                )
                act = replace(
                    request,
                    action=f"{step.kind}.{step.action}",
                    is_written=False,
                    applying=applying,
                )
                with enter_audit_context(act):
                    await self._work(step)
                    await self._audit.record(self._owner(step), step.name, dict(step.fields))
            step.outcome = "done"
        except NotFound as fault:
            self._failed(step, str(fault) or "it no longer exists")
        except (ValidationFailed, Conflict, PreconditionFailed) as fault:
            self._failed(step, str(fault))

    def _owner(self, step: Step) -> UUID | None:
        return self._real.tenant if step.kind == ROUTE else self._caller.tenant

    @staticmethod
    def _failed(step: Step, why: str) -> None:
        step.outcome, step.detail = "failed", why

    async def _work(self, step: Step) -> None:
        works: dict[str, Callable[[Step, Versions], Awaitable[None]]] = {
            DOMAIN: self._domain,
            ACCOUNT: self._account,
            ALIAS: self._alias,
            WEBHOOK: self._webhook,
            ROUTE: self._route,
        }
        await works[step.kind](
            step, None if step.present is None else frozenset({step.present.version})
        )

    async def _domain(self, step: Step, expected: Versions) -> None:
        match step.action:
            case "create":
                values = dict(step.fields)
                policy = values.pop(_POLICY, None)
                plus = bool(values.pop("plus_addressing", True))
                values.pop("catch_all", None)
                keys = (
                    await self._identity.keys_of_new(self._caller, step.name)
                    if values.pop("dkim", True)
                    else ()
                )
                new = NewDomain(step.name, plus_addressing=plus, dkim_keys=keys)
                made = await self._service.create_domain(self._caller, new, None)
                if values:
                    await self._service.change_domain(
                        self._caller, step.name, values, frozenset({made.version})
                    )
                if policy:
                    await self._set_policy(step, of_domain(step.name), policy)
            case "change":
                values = {name: each for name, each in step.fields.items() if name != _POLICY}
                if values:
                    await self._service.change_domain(self._caller, step.name, values, expected)
                if _POLICY in step.fields:
                    await self._set_policy(step, of_domain(step.name), step.fields[_POLICY])
            case _:
                await self._service.delete_domain(self._caller, step.name, expected)

    async def _account(self, step: Step, expected: Versions) -> None:
        match step.action:
            case "create":
                values = dict(step.fields)
                policy = values.pop(_POLICY, None)
                hashed = values.pop("password_hash", None) or await self._nobodys_hash()
                quota, state = (
                    values.pop("quota_bytes", None),
                    AccountState(values.pop("state", "active")),
                )
                made = await self._service.create_account_hashed(
                    self._caller, step.name, hashed, quota, state
                )
                if values:
                    await self._service.change_account(
                        self._caller, step.name, values, frozenset({made.version})
                    )
                if policy:
                    await self._set_policy(step, of_account(step.name), policy)
            case "change":
                values = {name: each for name, each in step.fields.items() if name != _POLICY}
                if values:
                    await self._service.change_account(self._caller, step.name, values, expected)
                if _POLICY in step.fields:
                    await self._set_policy(step, of_account(step.name), step.fields[_POLICY])
            case _:
                present = await self._service.account(self._caller, step.name)
                if present.used_messages and step.name not in self._forced:
                    raise Conflict(HAS_MAIL)
                await self._service.delete_account(self._caller, step.name, expected)

    async def _set_policy(
        self, step: Step, owner: PolicyOwner, document: Mapping[str, Any] | None
    ) -> None:
        version = step.present.policy_version if step.present else None
        expected = None if version is None else frozenset({version})
        if document:
            await self._filtering.set_policy(self._caller, owner, document, expected)
        else:
            await self._filtering.unset_policy(self._caller, owner, expected)

    async def _nobodys_hash(self) -> str:
        """A hash of what nobody knows, one for all accounts that get no password now."""
        if not self._unusable:
            self._unusable = await self._service.hash_password(secrets.token_urlsafe(32))
        return self._unusable

    async def _alias(self, step: Step, expected: Versions) -> None:
        match step.action:
            case "create":
                await self._service.create_alias(
                    self._caller, step.name, step.fields["targets"], None
                )
            case "change":
                await self._service.change_alias(
                    self._caller, step.name, step.fields["targets"], expected
                )
            case _:
                await self._service.delete_alias(self._caller, step.name, expected)

    async def _webhook(self, step: Step, expected: Versions) -> None:
        match step.action:
            case "create":
                values = step.fields
                state = WebhookState(values.get("state", "active"))
                _, step.secret = await self._hooks.create(
                    self._caller,
                    values["url"],
                    values["events"],
                    values["domain"],
                    None,
                    state=state,
                )
            case "change":
                assert step.present is not None
                await self._hooks.change(self._caller, step.present.handle, step.fields, expected)
            case _:
                assert step.present is not None
                await self._hooks.delete(self._caller, step.present.handle, expected)

    async def _route(self, step: Step, _: Versions) -> None:
        if step.action == DELETE:
            await self._outgoing.delete_route(step.name)
            return
        values = {**(step.present.values if step.present else {}), **step.fields}
        await self._outgoing.put_route(Route(step.name, **values), None)
