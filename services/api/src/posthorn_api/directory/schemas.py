"""The JSON shapes of domains, accounts and aliases."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from posthorn.ports.accounts import Account
from posthorn.ports.aliases import Alias
from posthorn.ports.domains import Domain
from posthorn.wire.address import display_domain
from posthorn.wire.imap.capabilities import CAPABILITIES
from posthorn_api.http.schemas import (
    ApiModel,
    Count,
    Hourly,
    Line,
    ManagedByView,
    Management,
    Networks,
    Password,
    PasswordHash,
    Quota,
    RequestBody,
    Targets,
)

_MESSAGES = "Messages that the account may send per hour; null: the limit of the domain, or else the configured one."
_RECIPIENTS = "Recipients that the account may send to per hour; null: the limit of the domain, or else the configured one."
_NETWORKS = (
    "Networks (CIDR) from which mail may be submitted; null: those of the domain, or else any."
)
_SAVE_SENT = (
    "Whether a copy of each message that the account submits is put into its Sent mailbox. Mail clients that save"
    " a copy themselves must then be told not to, or there are two."
)
_HIDDEN = "IMAP capabilities, such as `QRESYNC`, that its mail clients are not shown: for a client that misuses one."
_BY_NAME = {name.upper(): name for name in CAPABILITIES}


def _capabilities(names: list[str]) -> list[str]:
    for name in names:
        if name.upper() not in _BY_NAME:
            raise ValueError(f"not one of {', '.join(CAPABILITIES)}")
    return list(dict.fromkeys(_BY_NAME[name.upper()] for name in names))


ImapCapabilities = Annotated[list[Line], Field(max_length=100), AfterValidator(_capabilities)]
"""Names of capabilities in any case; each becomes the usual spelling, once."""


def _listed(networks: tuple[str, ...] | None) -> list[str] | None:
    return None if networks is None else list(networks)


class DomainCreation(RequestBody):
    """A domain to create."""

    name: Line = Field(examples=["example.test"])
    tenant: Line | None = Field(
        None,
        description="Name or id of the tenant; without it, the tenant of the key, or `default`.",
    )
    catch_all: Line | None = Field(
        None, description="Account or alias that receives mail for addresses that do not exist."
    )
    plus_addressing: bool = Field(
        True, description="Whether mail for `name+anything` is delivered to `name`."
    )
    dkim: bool = Field(
        True, description="Whether to create DKIM keys, one RSA 2048 and one Ed25519."
    )


class DomainChange(RequestBody):
    """Fields of a domain to change; fields that are left out keep their values."""

    catch_all: Line | None = None
    plus_addressing: bool = Field(default_factory=lambda: True)
    max_messages_per_hour: Hourly | None = Field(
        None, description="Messages that all accounts of the domain together may send per hour."
    )
    max_recipients_per_hour: Hourly | None = Field(
        None,
        description="Recipients that all accounts of the domain together may send to per hour.",
    )
    allowed_networks: Networks | None = Field(
        None,
        description="Networks (CIDR) from which its accounts may submit mail, unless an account has its own.",
    )
    max_accounts: Count | None = Field(
        None, description="Maximum number of accounts; null means unlimited."
    )
    quota_bytes: Quota | None = Field(
        None,
        description="Maximum sum of the quotas of its accounts, in bytes; each account then needs a quota."
        " Null means unlimited.",
    )
    retention_days: Annotated[int, Field(ge=1, le=36_500)] | None = Field(
        None, description="Age in days at which mail is deleted; null: never."
    )
    undelete_days: Annotated[int, Field(ge=0, le=365)] = Field(
        default_factory=int,
        description="Days for which deleted mail can be restored; 0: not at all. An account keeps at most"
        " twice its quota of deleted mail.",
    )
    account_forwards: Annotated[int, Field(ge=0, le=20)] = Field(
        default_factory=int,
        description="Addresses elsewhere that each account holder may forward mail to; 0: none. Lowered to"
        " 0, it ends forwards that are set.",
    )


class AccountCreation(RequestBody):
    """An account to create: with a password, or the hash of one."""

    address: Line = Field(examples=["carol@example.test"])
    password: Password | None = Field(None, examples=["correct horse battery"])
    password_hash: PasswordHash | None = None
    quota_bytes: Quota | None = Field(None, examples=[1073741824])


class AccountChange(RequestBody):
    """Fields of an account to change; fields that are left out keep their values."""

    password: Password = Field(default_factory=str, examples=["another good password"])
    password_hash: PasswordHash = Field(default_factory=str)
    quota_bytes: Quota | None = None
    state: Literal["active", "suspended", "receive-only"] = Field(
        default_factory=lambda: "active",
        description="suspended: receives no mail and cannot log in. receive-only: receives mail, but cannot send.",
    )
    max_messages_per_hour: Hourly | None = Field(None, description=_MESSAGES)
    max_recipients_per_hour: Hourly | None = Field(None, description=_RECIPIENTS)
    allowed_networks: Networks | None = Field(
        None, description=_NETWORKS, examples=[["192.0.2.0/24", "2001:db8::/32"]]
    )
    save_sent: bool = Field(default_factory=bool, description=_SAVE_SENT)
    hidden_imap_capabilities: ImapCapabilities = Field(
        default_factory=list, description=_HIDDEN, examples=[["QRESYNC"]]
    )


class AliasCreation(RequestBody):
    """An alias to create."""

    address: Line = Field(examples=["team@example.test"])
    targets: Targets = Field(examples=[["alice@example.test", "bob@example.test"]])


class AliasChange(RequestBody):
    """The new targets of an alias."""

    targets: Targets = Field(examples=[["bob@example.test"]])


class ForwardConfirmation(RequestBody):
    """The confirmation that was sent to a target of an alias."""

    token: Line = Field(
        description="The token from the message.",
        examples=["0198c1d2c3b47a519e2f8d7c6b5a4938.Zm9yd2FyZHM"],
    )


class DnsVerdictView(ApiModel):
    """The verdict of the last check on the DNS records of one name and type."""

    purpose: str = Field(examples=["mx"])
    name: str
    type: str
    need: Literal["required", "recommended"]
    verdict: Literal["right", "missing", "wrong", "unknown"]


class DomainView(ApiModel):
    """A domain."""

    name: str = Field(description="Canonical form: lower case, A-labels.")
    display_name: str = Field(description="The name in Unicode, for display.")
    tenant: str
    catch_all: str | None
    plus_addressing: bool
    max_messages_per_hour: int | None
    max_recipients_per_hour: int | None
    allowed_networks: list[str] | None
    max_accounts: int | None
    quota_bytes: int | None
    retention_days: int | None
    undelete_days: int
    account_forwards: int
    postmaster: str | None = Field(
        description="The address that receives mail for its postmaster (RFC 5321 section 4.5.1): its own, the catch-all,"
        " `POSTHORN_SMTP_POSTMASTER`, or the oldest account. Null: none, and such mail is refused."
    )
    verified_at: datetime | None = Field(
        description="Time at which the ownership was verified; null: not yet, and the domain receives no mail."
    )
    dns_state: Literal["right", "wrong", "unknown"] | None = Field(
        description="Whether all required DNS records were right at the last check; unknown: lookups failed; null:"
        " not checked yet. Domains are checked in the background, and by `GET /v1/domains/{name}/dns/check`."
    )
    dns_checked_at: datetime | None = Field(description="Time of that check.")
    dns_verdicts: list[DnsVerdictView] = Field(description="Its verdict on each record.")
    dkim_signs_from: datetime | None = Field(
        None,
        description="Time from which the oldest of the DKIM keys that sign has signed; null: none signs.",
    )
    accounts: int = Field(0, description="Number of its accounts.")
    promised_bytes: int | None = Field(
        None, description="Sum of the quotas of its accounts, in bytes; null in lists."
    )
    managed_by: Management
    created_at: datetime
    updated_at: datetime

    @classmethod
    def from_domain(cls, domain: Domain) -> DomainView:
        """Show a domain."""
        return cls(
            name=domain.name,
            display_name=display_domain(domain.name),
            tenant=domain.tenant,
            catch_all=domain.catch_all,
            plus_addressing=domain.plus_addressing,
            max_messages_per_hour=domain.sending.max_messages_per_hour,
            max_recipients_per_hour=domain.sending.max_recipients_per_hour,
            allowed_networks=_listed(domain.sending.allowed_networks),
            max_accounts=domain.max_accounts,
            quota_bytes=domain.quota_bytes,
            retention_days=domain.retention_days,
            undelete_days=domain.undelete_days,
            account_forwards=domain.account_forwards,
            postmaster=domain.postmaster,
            verified_at=domain.verified_at,
            dns_state=None if domain.dns is None else domain.dns.state.value,
            dns_checked_at=None if domain.dns is None else domain.dns.checked_at,
            dns_verdicts=[
                DnsVerdictView.model_validate(asdict(each))
                for each in (() if domain.dns is None else domain.dns.records)
            ],
            dkim_signs_from=domain.dkim_signs_from,
            accounts=domain.accounts,
            promised_bytes=domain.promised_bytes,
            managed_by=ManagedByView.of(domain.managed_by),
            created_at=domain.created_at,
            updated_at=domain.updated_at,
        )


class AccountView(ApiModel):
    """An account."""

    address: str
    quota_bytes: int | None
    used_bytes: int
    used_messages: int
    state: Literal["active", "suspended", "receive-only"]
    max_messages_per_hour: int | None
    max_recipients_per_hour: int | None
    allowed_networks: list[str] | None
    save_sent: bool = Field(description=_SAVE_SENT)
    hidden_imap_capabilities: list[str] = Field(description=_HIDDEN)
    managed_by: Management
    created_at: datetime
    updated_at: datetime

    @classmethod
    def from_account(cls, account: Account) -> AccountView:
        """Show an account."""
        return cls(
            address=account.address,
            quota_bytes=account.quota_bytes,
            used_bytes=account.used_bytes,
            used_messages=account.used_messages,
            state=account.state.value,
            max_messages_per_hour=account.sending.max_messages_per_hour,
            max_recipients_per_hour=account.sending.max_recipients_per_hour,
            allowed_networks=_listed(account.sending.allowed_networks),
            save_sent=account.save_sent,
            hidden_imap_capabilities=list(account.imap_hidden),
            managed_by=ManagedByView.of(account.managed_by),
            created_at=account.created_at,
            updated_at=account.updated_at,
        )


class TargetView(ApiModel):
    """A target of an alias, and whether it gets mail."""

    address: str
    state: Literal["active", "unconfirmed", "suppressed"] = Field(
        description="unconfirmed: an address elsewhere that gets no mail until it confirms, which it was"
        " asked to do by mail. suppressed: on the tenant's suppression list."
    )

    @classmethod
    def from_alias(cls, alias: Alias, target: str) -> TargetView:
        """Show a target."""
        if target in alias.unconfirmed:
            return cls(address=target, state="unconfirmed")
        return cls(address=target, state="suppressed" if target in alias.suppressed else "active")


class AliasView(ApiModel):
    """An alias."""

    address: str
    targets: list[str]
    target_states: list[TargetView] = Field(description="For each target, whether it gets mail.")
    account_copy: bool | None = Field(
        description="Not null: the holder of the account with this address forwards its mail, and keeps a copy or"
        " not. It can be deleted here, and changed by the holder."
    )
    managed_by: Management
    created_at: datetime
    updated_at: datetime

    @classmethod
    def from_alias(cls, alias: Alias) -> AliasView:
        """Show an alias."""
        return cls(
            address=alias.address,
            targets=list(alias.targets),
            target_states=[TargetView.from_alias(alias, target) for target in alias.targets],
            account_copy=alias.account_copy,
            managed_by=ManagedByView.of(alias.managed_by),
            created_at=alias.created_at,
            updated_at=alias.updated_at,
        )
