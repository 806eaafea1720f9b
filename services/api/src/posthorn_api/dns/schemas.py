"""The JSON shapes of what domains publish in DNS."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from posthorn.model.dns_findings import Finding
from posthorn.model.dns_records import Presence, Record
from posthorn.wire.address import display_domain
from posthorn.wire.auth.dkim import record_strings
from posthorn.wire.mta_sts import Mode, policy_text
from posthorn_api.dns.service import Checked, ToPublish

_MOST_SHOWN = 50


class DnsRecordView(BaseModel):
    """Records to be published under one name and type."""

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
    name: str = Field(description="In A-labels, without a final dot.", examples=["_dmarc.example.test"])
    type: Literal["MX", "TXT", "CNAME", "SRV", "PTR"]
    values: list[str] = Field(
        description="As in a zone file, names without their final dot; a text is one string here.",
        examples=[["v=DMARC1; p=none; rua=mailto:postmaster@example.test"]],
    )
    strings: list[list[str]] | None = Field(
        description="Of a TXT record: each value, cut into the strings of at most 255 octets that DNS holds."
    )
    ttl: int = Field(description="Seconds; a suggestion.", examples=[3600])
    need: Literal["required", "recommended"]
    state: Literal["pending", "signing", "retired"] | None = Field(description="Of a DKIM key.")
    why: str

    @classmethod
    def of(cls, record: Record) -> Self:
        """Show a record."""
        return cls(**_fields(record))


class DomainDnsView(BaseModel):
    """What a domain is to publish."""

    domain: str
    display_name: str
    verified_at: datetime | None
    records: list[DnsRecordView]
    mta_sts_policy: str | None = Field(
        description="The policy that is served at https://mta-sts.<domain>/.well-known/mta-sts.txt; null: there is none."
    )
    notes: list[str] = Field(description="What else is to be done.")

    @classmethod
    def of(cls, found: ToPublish, presence: Presence) -> DomainDnsView:
        """Show it."""
        return cls(
            domain=found.domain.name,
            display_name=display_domain(found.domain.name),
            verified_at=found.domain.verified_at,
            records=[DnsRecordView.of(record) for record in found.records],
            mta_sts_policy=None if presence.mta_sts is Mode.NONE else policy_text(presence.policy),
            notes=list(found.notes),
        )


class CheckedRecordView(DnsRecordView):
    """A record as it stands in DNS."""

    verdict: Literal["right", "missing", "wrong", "unknown"] = Field(description="unknown: the lookup failed.")
    found: list[str] = Field(description="What is there now.")
    detail: str = Field(
        description="What is the matter and how to mend it; it may say something of what is right, too."
    )
    suggestion: list[str] = Field(description="What to publish in the place of what was found; empty: `values`.")

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


class DnsCheckView(BaseModel):
    """What was found of a domain's records."""

    domain: str
    display_name: str
    checked_at: datetime
    right: bool = Field(description="Whether everything is right that is required.")
    records: list[CheckedRecordView]
    notes: list[str]

    @classmethod
    def of(cls, checked: Checked) -> DnsCheckView:
        """Show it."""
        return cls(
            domain=checked.domain.name,
            display_name=display_domain(checked.domain.name),
            checked_at=checked.at,
            right=checked.is_right,
            records=[CheckedRecordView.found_so(record, finding) for record, finding in checked.findings],
            notes=list(checked.notes),
        )


def _fields(record: Record) -> dict[str, Any]:
    return {
        "purpose": record.purpose.value,
        "name": record.name,
        "type": record.type,
        "values": list(record.values),
        "strings": [list(record_strings(value)) for value in record.values] if record.type == "TXT" else None,
        "ttl": record.ttl,
        "need": record.need.value,
        "state": record.state,
        "why": record.why,
    }
