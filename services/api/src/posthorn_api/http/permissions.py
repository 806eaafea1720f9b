"""The route table of rights: which roles may do what, and what a change is called in the audit log.

Every operation under /v1 stands here by its operation id. One that does not ends the process at
import (``guarded_route.GuardedRoute``), and so does a line without an operation (``app.create_app``):
nobody forgets who may call what.
"""

from __future__ import annotations

from dataclasses import dataclass

from posthorn.ports.api_keys import ApiKey, Role

_ADMINS = frozenset({Role.PLATFORM_ADMIN, Role.TENANT_ADMIN})
_READERS = _ADMINS | {Role.READ_ONLY}
_SENDERS = _ADMINS | {Role.SEND_ONLY}
_PLATFORM = frozenset({Role.PLATFORM_ADMIN})
_PLATFORM_READERS = _PLATFORM | {Role.READ_ONLY}


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call an operation."""

    roles: frozenset[Role]
    action: str | None = None
    """Its name in the audit log; None: it changes nothing that is audited."""
    whole_platform: bool = False
    """Whether a tenant's key may not, whatever its role: what it shows or changes belongs to
    nobody."""
    streams: bool = False
    """Whether the operation reads the body by itself, line by line."""
    any_type: bool = False
    """Whether a body that the operation reads by itself may be of any media type."""
    content: bool = False
    """Whether it shows the content of an account's mailboxes: it needs the right to, and each
    use has a line in the audit log."""
    own: bool = False
    """Whether an account may call it for its own address."""
    me: bool = False
    """Whether it is about the account that calls: for accounts, whose address is not in the path."""
    public: bool = False
    """Whether anybody may call it, known or not: it is how one becomes known."""
    anyone: bool = False
    """Whether each caller that is known may call it, whatever the role."""

    def admits(self, caller: ApiKey) -> bool:
        """Return whether the caller may."""
        if self.public or self.anyone:
            return True
        if caller.role is Role.ACCOUNT:
            return self.own or self.me
        if self.content and not caller.message_content:
            return False
        if caller.role is Role.TENANT_ADMIN and caller.tenant is None:
            return False  # it would administer everybody
        return caller.role in self.roles and not (self.whole_platform and caller.tenant is not None)


def _read() -> Rule:
    return Rule(_READERS)


def _change(action: str) -> Rule:
    return Rule(_ADMINS, action)


def _content(action: str) -> Rule:
    return Rule(_READERS, action, content=True)


def _me(action: str | None = None) -> Rule:
    return Rule(frozenset(), action, me=True)


def _platform(action: str) -> Rule:
    return Rule(_PLATFORM, action, whole_platform=True)


RULES = {
    "getLoginMethods": Rule(frozenset(), public=True),
    "createLogin": Rule(frozenset(), public=True),
    "deleteLogin": Rule(frozenset(), anyone=True),
    "createLoginLink": _platform("login-link.create"),
    "endSessions": _platform("session.end"),
    "getMe": Rule(frozenset(), anyone=True),
    "changeMyPassword": _me("account.change-password"),
    "listMyAppPasswords": _me(),
    "createMyAppPassword": _me("app-password.create"),
    "deleteMyAppPassword": _me("app-password.delete"),
    "listMySignIns": _me(),
    "listMyReads": _me(),
    "getMyClientSettings": _me(),
    "createMySetUpCode": _me("app-password.create"),
    "listMyMailboxes": _me(),
    "exportMyMail": Rule(frozenset(), "content.export", content=True, me=True),
    "listMyDeletedMessages": _me(),
    "undeleteMyMessage": _me("message.undelete"),
    "listMyQuarantine": _me(),
    "releaseMyQuarantined": _me("quarantine.release"),
    "getMyForwards": _me(),
    "setMyForwards": _me("forward.set"),
    "deleteMyForwards": _me("forward.delete"),
    "getMyVacation": _me(),
    "setMyVacation": _me("vacation.set"),
    "createTenant": _platform("tenant.create"),
    "listTenants": _read(),
    "getTenant": _read(),
    "changeTenant": _platform("tenant.change"),
    "deleteTenant": _platform("tenant.delete"),
    "createApiKey": _change("api-key.create"),
    "listApiKeys": _read(),
    "getApiKey": _read(),
    "deleteApiKey": _change("api-key.delete"),
    "listAudit": _read(),
    "importAccounts": Rule(_ADMINS, "account.import", streams=True),
    "importAliases": Rule(_ADMINS, "alias.import", streams=True),
    "planAccountImport": Rule(_ADMINS, "account.plan-import", streams=True),
    "planAliasImport": Rule(_ADMINS, "alias.plan-import", streams=True),
    "createDomain": _change("domain.create"),
    "listDomains": _read(),
    "getDomain": _read(),
    "changeDomain": _change("domain.change"),
    "deleteDomain": _change("domain.delete"),
    "getDns": _read(),
    "checkDns": _read(),
    "checkAllDns": _change("domain.check"),
    "verifyDomain": _change("domain.verify"),
    "listDkimKeys": _read(),
    "rotateDkimKeys": _change("domain.rotate-dkim"),
    "getSystemFilterPolicy": Rule(_PLATFORM_READERS, whole_platform=True),
    "setSystemFilterPolicy": _platform("filter-policy.set"),
    "unsetSystemFilterPolicy": _platform("filter-policy.unset"),
    "getTenantFilterPolicy": _read(),
    "setTenantFilterPolicy": _change("filter-policy.set"),
    "unsetTenantFilterPolicy": _change("filter-policy.unset"),
    "getDomainFilterPolicy": _read(),
    "setDomainFilterPolicy": _change("filter-policy.set"),
    "unsetDomainFilterPolicy": _change("filter-policy.unset"),
    "getEffectiveDomainFilterPolicy": _read(),
    "getAccountFilterPolicy": _read(),
    "setAccountFilterPolicy": _change("filter-policy.set"),
    "unsetAccountFilterPolicy": _change("filter-policy.unset"),
    "getEffectiveAccountFilterPolicy": _read(),
    "listQuarantine": _read(),
    "getQuarantined": _read(),
    "getRawQuarantined": _content("content.read"),
    "releaseQuarantined": _change("quarantine.release"),
    "releaseAllQuarantined": _change("quarantine.release"),
    "deleteQuarantined": _change("quarantine.delete"),
    "getDefence": Rule(_PLATFORM_READERS, whole_platform=True),
    "getListings": Rule(_PLATFORM_READERS, whole_platform=True),
    "createAccount": _change("account.create"),
    "listAccounts": _read(),
    "getAccount": _read(),
    "changeAccount": _change("account.change"),
    "deleteAccount": _change("account.delete"),
    "createAppPassword": _change("app-password.create"),
    "listAppPasswords": _read(),
    "deleteAppPassword": _change("app-password.delete"),
    "listSignIns": Rule(_READERS, own=True),
    "listMessages": _content("content.list"),
    "getMessage": _content("content.show"),
    "getRawMessage": _content("content.read"),
    "getMessageStructure": _content("content.show"),
    "getMessagePart": _content("content.read"),
    "deleteMessage": _change("message.delete"),
    "changeMessage": _change("message.change"),
    "moveMessage": _change("message.move"),
    "classifyMessage": Rule(_ADMINS, "message.classify", own=True),
    "listDeletedMessages": _content("content.list-deleted"),
    "undeleteMessage": _change("message.undelete"),
    "exportMail": _content("content.export"),
    "importMail": Rule(_ADMINS, "message.import", streams=True, any_type=True),
    "listContentAccess": Rule(_READERS, own=True),
    "listMailboxes": _read(),
    "createMailbox": _change("mailbox.create"),
    "changeMailbox": _change("mailbox.change"),
    "deleteMailbox": _change("mailbox.delete"),
    "createAlias": _change("alias.create"),
    "listAliases": _read(),
    "getAlias": _read(),
    "changeAlias": _change("alias.change"),
    "deleteAlias": _change("alias.delete"),
    "confirmForward": _change("alias.confirm"),
    "sendMessage": Rule(_SENDERS),
    "traceMessage": _read(),
    "searchMessages": _read(),
    "listQueue": _read(),
    "summarizeQueue": _read(),
    "getQueued": _read(),
    "cancelQueued": _change("queue.cancel"),
    "retryQueued": _change("queue.retry"),
    "holdQueued": _change("queue.hold"),
    "releaseQueued": _change("queue.release"),
    "cancelAllQueued": _change("queue.cancel"),
    "retryAllQueued": _change("queue.retry"),
    "holdAllQueued": _change("queue.hold"),
    "releaseAllQueued": _change("queue.release"),
    "listRoutes": Rule(_PLATFORM_READERS, whole_platform=True),
    "createRoute": _platform("route.create"),
    "getRoute": Rule(_PLATFORM_READERS, whole_platform=True),
    "setRoute": _platform("route.set"),
    "deleteRoute": _platform("route.delete"),
    "probeRoute": _platform("route.probe"),
    "createWebhook": _change("webhook.create"),
    "listWebhooks": _read(),
    "getWebhook": _read(),
    "changeWebhook": _change("webhook.change"),
    "deleteWebhook": _change("webhook.delete"),
    "rotateWebhookSecret": _change("webhook.rotate"),
    "testWebhook": _change("webhook.test"),
    "listWebhookDeliveries": _read(),
    "getWebhookDelivery": _read(),
    "replayWebhookDelivery": _change("webhook.replay"),
    "replayFailedWebhookDeliveries": _change("webhook.replay"),
    "listStats": _read(),
    "getStatsSeries": _read(),
    "followEvents": _read(),
    "listDmarcReports": _read(),
    "listTlsReports": _read(),
    "listComplaints": _read(),
    "getStatus": _read(),
    "getSystem": Rule(_PLATFORM_READERS, whole_platform=True),
    "getConfig": _read(),
    "putConfig": _change("config.apply"),
    "listManagers": _read(),
    "releaseManager": _change("config.release"),
    "listSuppressions": _read(),
    "suppress": _change("suppression.create"),
    "unsuppress": _change("suppression.delete"),
    "listDeadLetters": Rule(_PLATFORM_READERS, whole_platform=True),
    "retryDeadLetter": _platform("dead-letter.retry"),
    "discardDeadLetter": _platform("dead-letter.discard"),
}
"""The table, by operation id."""


def permitted(caller: ApiKey) -> list[str]:
    """Return the ids of all operations that the caller may use."""
    return sorted(name for name, rule in RULES.items() if rule.admits(caller))


def rule_of(operation: str | None) -> Rule:
    """Return the rule of an operation. Raises RuntimeError when it has none."""
    rule = RULES.get(operation or "")
    if rule is None:
        raise RuntimeError(
            f"the operation {operation} has no rule: say in posthorn_api.http.permissions who may call it"
        )
    return rule
