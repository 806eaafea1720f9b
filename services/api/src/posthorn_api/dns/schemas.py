"""The JSON shapes of what domains publish in DNS."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field

from posthorn.model.client_settings import client_servers
from posthorn.model.dns_findings import Finding
from posthorn.model.dns_records import Presence, Record
from posthorn.ports.domains import Domain
from posthorn.wire.address import display_domain
from posthorn.wire.auth.dkim import record_strings
from posthorn.wire.mta_sts import Mode, policy_text
from posthorn_api.directory.schemas import DomainView
from posthorn_api.dns.service import Checked, ToPublish
from posthorn_api.http.schemas import ApiModel

_MOST_SHOWN = 50


class DnsRecordView(ApiModel):
    """DNS records to publish under one name and type."""

    purpose: Literal[
        "ownership",
        "mx",
        "spf",
        "dkim",
        "dmarc",
        "mta-sts",
        "mta-sts-host",
        "tls-rpt",
        "autoconfig",
        "autodiscover",
        "service",
        "ptr",
    ]
    name: str = Field(
        description="In A-labels, without a trailing dot.", examples=["_dmarc.example.test"]
    )
    type: Literal["MX", "TXT", "CNAME", "SRV", "PTR"]
    values: list[str] = Field(
        description="As in a zone file, names without a trailing dot; each text is a single string.",
        examples=[["v=DMARC1; p=none; rua=mailto:postmaster@example.test"]],
    )
    strings: list[list[str]] | None = Field(
        description="For a TXT record: each value, split into the strings of at most 255 bytes that DNS allows."
    )
    ttl: int = Field(description="Suggested time to live, in seconds.", examples=[3600])
    need: Literal["required", "recommended"]
    state: Literal["pending", "signing", "retired"] | None = Field(
        description="State of the DKIM key, for a record of one."
    )
    why: str

    @classmethod
    def from_record(cls, record: Record) -> Self:
        """Show a record."""
        return cls(**_fields(record))


class NewDomainView(DomainView):
    """A domain that was just created, with the DNS records to publish for it."""

    dns_records: list[DnsRecordView] = Field(
        description="The records to publish, including those of its DKIM keys. An SPF record that the domain"
        " already publishes is not considered; `GET /v1/domains/{name}/dns` merges it."
    )

    @classmethod
    def made(cls, domain: Domain, records: Sequence[Record]) -> NewDomainView:
        """Return the view of a domain with its records."""
        return cls(
            **DomainView.from_domain(domain).model_dump(),
            dns_records=[DnsRecordView.from_record(record) for record in records],
        )


class ClientServerView(ApiModel):
    """A server to set a mail client up with. The user name is the address in full."""

    protocol: Literal["imap", "pop3", "smtp"]
    host: str = Field(examples=["mail.example.test"])
    port: int = Field(examples=[993])
    security: Literal["tls", "starttls"] = Field(
        description="`tls`: from the first byte; `starttls`: by STARTTLS or STLS. Both are encrypted."
    )


def client_server_views(presence: Presence) -> list[ClientServerView]:
    """Show the servers for mail clients."""
    return [
        ClientServerView(
            protocol=each.protocol,
            host=each.host,
            port=each.port,
            security="tls" if each.implicit_tls else "starttls",
        )
        for each in client_servers(presence)
    ]


class DomainDnsView(ApiModel):
    """The DNS records that a domain needs."""

    domain: str
    display_name: str
    verified_at: datetime | None
    records: list[DnsRecordView]
    mta_sts_policy: str | None = Field(
        description="The MTA-STS policy served at https://mta-sts.<domain>/.well-known/mta-sts.txt; null: none."
    )
    client_servers: list[ClientServerView] = Field(
        description="The servers for mail clients, the preferred ones first: reading, then sending."
    )
    notes: list[str] = Field(description="Further things to do.")

    @classmethod
    def from_records(cls, found: ToPublish, presence: Presence) -> DomainDnsView:
        """Show it."""
        return cls(
            domain=found.domain.name,
            display_name=display_domain(found.domain.name),
            verified_at=found.domain.verified_at,
            records=[DnsRecordView.from_record(record) for record in found.records],
            mta_sts_policy=None if presence.mta_sts is Mode.NONE else policy_text(presence.policy),
            client_servers=client_server_views(presence),
            notes=list(found.notes),
        )


class CheckedRecordView(DnsRecordView):
    """A record and its present state in DNS."""

    verdict: Literal["right", "missing", "wrong", "unknown"] = Field(
        description="right, missing, wrong, or unknown if the lookup failed."
    )
    found: list[str] = Field(description="The values that DNS returned.")
    detail: str = Field(
        description="What is wrong and how to correct it; it may also comment on a record that is right."
    )
    suggestion: list[str] = Field(
        description="What to publish instead of the values found; empty: `values`."
    )

    @classmethod
    def found_so(cls, record: Record, finding: Finding) -> CheckedRecordView:
        """Show a record with what was found."""
        return cls(
            **_fields(record),
            verdict=finding.verdict.value,
            found=list(finding.found[:_MOST_SHOWN]),
            detail=finding.detail,
            suggestion=list(finding.suggestion),
        )


class AllChecksView(ApiModel):
    """A wish to check the DNS records of all domains."""

    due: int = Field(description="Number of domains that are checked in the background.")


class DnsCheckView(ApiModel):
    """The result of checking the DNS records of a domain."""

    domain: str
    display_name: str
    checked_at: datetime
    right: bool = Field(description="Whether all required records are right.")
    records: list[CheckedRecordView]
    notes: list[str]

    @classmethod
    def from_check(cls, checked: Checked) -> DnsCheckView:
        """Show it."""
        return cls(
            domain=checked.domain.name,
            display_name=display_domain(checked.domain.name),
            checked_at=checked.at,
            right=checked.is_right,
            records=[
                CheckedRecordView.found_so(record, finding) for record, finding in checked.findings
            ],
            notes=list(checked.notes),
        )


def _fields(record: Record) -> dict[str, Any]:
    return {
        "purpose": record.purpose.value,
        "name": record.name,
        "type": record.type,
        "values": list(record.values),
        "strings": [list(record_strings(value)) for value in record.values]
        if record.type == "TXT"
        else None,
        "ttl": record.ttl,
        "need": record.need.value,
        "state": record.state,
        "why": record.why,
    }
