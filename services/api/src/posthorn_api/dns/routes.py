"""Operations on what domains publish in DNS."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Depends, Query, Request, Response

from posthorn.model.dns_records import zone_text
from posthorn_api.dns.schemas import DnsCheckView, DomainDnsView
from posthorn_api.dns.service import DnsService
from posthorn_api.http.operations import POST_ONLY, Caller, DomainPath, etag, problems, router
from posthorn_api.http.schemas import DomainView

dns = router("dns")

ZONE = "text/dns"
"""Media type of a piece of a zone file (RFC 4027)."""


def _names(request: Request) -> DnsService:
    found: DnsService = request.app.state.dns
    return found


Names = Annotated[DnsService, Depends(_names)]
Format = Annotated[Literal["json", "zone"], Query(description="`zone`: a piece of a zone file.")]


@dns.get(
    "/v1/domains/{name}/dns",
    operation_id="getDns",
    summary="Show the DNS records that a domain is to publish",
    response_model=DomainDnsView,
    responses={
        200: {
            "description": "The records, as JSON or as a piece of a zone file.",
            "content": {ZONE: {"schema": {"type": "string"}}},
        },
        **problems(404),
    },
)
async def get_dns(
    name: DomainPath, caller: Caller, names: Names, form: Annotated[Format, Query(alias="format")] = "json"
) -> DomainDnsView | Response:
    """With the reason for each. If the domain has an SPF record already, the one shown is that with ours added."""
    found = await names.to_publish(caller, name)
    if form == "zone":
        return Response(zone_text(found.domain.name, found.records), media_type=f"{ZONE}; charset=utf-8")
    return DomainDnsView.of(found, names.presence)


@dns.get(
    "/v1/domains/{name}/dns/check",
    operation_id="checkDns",
    summary="Look up the DNS records of a domain",
    responses=problems(404),
)
async def check_dns(name: DomainPath, caller: Caller, names: Names) -> DnsCheckView:
    """Says of each record whether it is right, missing, wrong or, where the lookup fails, unknown, and how to mend it. Takes 15
    seconds at most."""
    return DnsCheckView.of(await names.check(caller, name))


@dns.post(
    "/v1/domains/{name}/verify",
    operation_id="verifyDomain",
    summary="Show that a domain is yours",
    responses=problems(404, 409),
    dependencies=POST_ONLY,
)
async def verify_domain(name: DomainPath, caller: Caller, names: Names, response: Response) -> DomainView:
    """Where the tenant's domains must be verified, the TXT record `ownership` is looked up: with it the domain takes and sends mail
    from now on, without it the answer is 409. It need not stay published. A domain that another tenant has named without showing
    that it owns it becomes yours in the same way; making it says with which record."""
    domain = await names.verify(caller, name)
    response.headers["ETag"] = etag(domain.version)
    return DomainView.of(domain)
