"""Operations on what domains publish in DNS."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Depends, Query, Response

from posthorn.model.dns_records import zone_text
from posthorn_api.directory.schemas import DomainView
from posthorn_api.dns.schemas import AllChecksView, DnsCheckView, DomainDnsView
from posthorn_api.dns.service import DnsService
from posthorn_api.http.operations import (
    POST_ONLY,
    Caller,
    DomainPath,
    etag,
    problems,
    router,
    service_of,
)
from posthorn_api.http.pagination import OfTenant

dns = router("DNS")

ZONE = "text/dns"
"""Media type of a piece of a zone file (RFC 4027)."""


Dns = Annotated[DnsService, Depends(service_of(DnsService))]
Format = Annotated[
    Literal["json", "zone"], Query(description="`json`, or `zone` for a fragment of a zone file.")
]


@dns.get(
    "/v1/domains/{name}/dns",
    operation_id="getDns",
    summary="Get the DNS records that a domain needs.",
    response_model=DomainDnsView,
    responses={
        200: {
            "description": "The records, as JSON or as a fragment of a zone file.",
            "content": {ZONE: {"schema": {"type": "string"}}},
        },
        **problems(404),
    },
)
async def get_dns(
    name: DomainPath,
    caller: Caller,
    names: Dns,
    form: Annotated[Format, Query(alias="format")] = "json",
) -> DomainDnsView | Response:
    """Each record comes with the reason for it. If the domain already publishes an SPF record, the
    one in the answer is that record with ours merged into it.
    """
    found = await names.to_publish(caller, name)
    if form == "zone":
        return Response(
            zone_text(found.domain.name, found.records), media_type=f"{ZONE}; charset=utf-8"
        )
    return DomainDnsView.from_records(found, names.presence)


@dns.get(
    "/v1/domains/{name}/dns/check",
    operation_id="checkDns",
    summary="Check the DNS records of a domain.",
    responses=problems(404),
)
async def check_dns(name: DomainPath, caller: Caller, names: Dns) -> DnsCheckView:
    """Looks up every record and reports whether it is right, missing, wrong or, if the lookup
    failed, unknown, and how to correct it. Takes at most 15 seconds.
    """
    return DnsCheckView.from_check(await names.check(caller, name))


@dns.post(
    "/v1/domains/dns/check",
    operation_id="checkAllDns",
    summary="Check the DNS records of all domains.",
    status_code=202,
    responses=problems(),
    dependencies=POST_ONLY,
)
async def check_all_dns(caller: Caller, names: Dns, tenant: OfTenant = None) -> AllChecksView:
    """The domains that the key sees are checked in the background, a few at a time, and show the
    result as `dns_state`. Domains that were checked in the last five minutes are left out.
    """
    return AllChecksView(due=await names.check_all(caller, tenant))


@dns.post(
    "/v1/domains/{name}/verify",
    operation_id="verifyDomain",
    summary="Verify the ownership of a domain.",
    responses=problems(404, 409),
    dependencies=POST_ONLY,
)
async def verify_domain(
    name: DomainPath, caller: Caller, names: Dns, response: Response
) -> DomainView:
    """If the tenant's domains must be verified, the TXT record with the purpose `ownership` is
    looked up. If it is there, the domain receives and sends mail from now on; if not, the answer
    is 409 (conflict). The record need not stay published. A domain that another tenant has
    created without verifying it is transferred to your tenant in the same way, with new DKIM
    keys; the error of its creation names the record.
    """
    domain = await names.verify(caller, name)
    response.headers["ETag"] = etag(domain.version)
    return DomainView.from_domain(domain)
