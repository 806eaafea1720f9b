"""Domains, and what may be sent from them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class SendingRules:
    """What an account or a domain may send, and from where; None: as the domain, or as the settings say."""

    max_messages_per_hour: int | None = None
    max_recipients_per_hour: int | None = None
    allowed_networks: tuple[str, ...] | None = None
    """CIDR networks that mail may be submitted from."""


NO_RULES = SendingRules()


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain of ours."""

    name: str
    tenant: str
    """Name of the tenant."""
    catch_all: str | None
    plus_addressing: bool
    created_at: datetime
    updated_at: datetime
    sending: SendingRules = NO_RULES
    tenant_id: UUID | None = None
    """Always known of a domain that the store gives."""
    version: str = ""
    """Another one after every change through the API, and after nothing else; so of all objects."""
    tenant_sending: SendingRules = NO_RULES
    """What all domains of the tenant may send together."""
    min_password_length: int = 8
    """Characters, as the tenant says."""
    max_accounts: int | None = None
    """None: unlimited; so of the others."""
    quota_bytes: int | None = None
    """What its accounts may be promised together."""
    retention_days: int | None = None
    """None: mail is kept until it is deleted."""
    undelete_days: int = 0
    """How long deleted mail can be brought back; 0: not at all."""
    verification_token: str | None = None
    verified_at: datetime | None = None
    """None: it takes and sends no mail before its ownership is shown."""
    must_be_verified: bool = False
    """Whether its tenant's new domains must be."""


@dataclass(frozen=True, slots=True)
class NewDomain:
    """A domain to be made."""

    name: str
    tenant: str | None = None
    """Name or id of the tenant; None: the caller's, or ``default``."""
    catch_all: str | None = None
    plus_addressing: bool = True
