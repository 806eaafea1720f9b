"""Operations on the figures of received reports."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

from fastapi import Depends, Query

from posthorn.ports.errors import FieldError, ValidationFailed
from posthorn.ports.reports import KEPT_DAYS, Period, ReportFigures
from posthorn_api.directory.fields import domain_in
from posthorn_api.http.operations import Caller, DomainPath, problems, router, service_of
from posthorn_api.http.pagination import (
    SORT,
    AskedList,
    Cursor,
    Limit,
    OfTenant,
    listed,
    number_in,
    part_of_list,
)
from posthorn_api.http.schemas import Page
from posthorn_api.reports.schemas import ComplaintView, DmarcFigureView, TlsFigureView

reports = router("Reports")

_DEFAULT = timedelta(days=30)
Figures = Annotated[ReportFigures, Depends(service_of(ReportFigures))]
Day = Annotated[date | None, Query(examples=["2036-01-01"])]
Since = Annotated[Day, Query(description="First day (UTC). Without it, 30 days before the last.")]
Until = Annotated[Day, Query(description="Last day (UTC), included. Without it, today.")]


@reports.get(
    "/v1/domains/{name}/reports/dmarc",
    operation_id="listDmarcReports",
    summary="Get the figures of DMARC reports about a domain.",
    responses=problems(404),
)
async def list_dmarc_reports(
    name: DomainPath,
    caller: Caller,
    figures: Figures,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[DmarcFigureView]:
    """By source and result, those with the most messages first, added up over the period. The
    reports are aggregate reports (RFC 9990, RFC 7489) that mailboxes of the tenant received: name
    one of them in `rua` of the domain's DMARC record. Kept for 400 days.
    """
    place = number_in(cursor) or 0
    domain, period = domain_in("name", name), _period(since, until)
    found = await figures.dmarc(caller.tenant, domain, period, place, limit + 1)
    after = place + limit if len(found) > limit else None
    return part_of_list(found[:limit], DmarcFigureView.of, after)


@reports.get(
    "/v1/domains/{name}/reports/tls",
    operation_id="listTlsReports",
    summary="Get the figures of TLS reports about a domain.",
    responses=problems(404),
)
async def list_tls_reports(
    name: DomainPath,
    caller: Caller,
    figures: Figures,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[TlsFigureView]:
    """By reporter and result, failures first, added up over the period. The reports (RFC 8460) are
    those that mailboxes of the tenant received: name one of them in the record `_smtp._tls` of the
    domain. Kept for 400 days.
    """
    place = number_in(cursor) or 0
    domain, period = domain_in("name", name), _period(since, until)
    found = await figures.tls(caller.tenant, domain, period, place, limit + 1)
    after = place + limit if len(found) > limit else None
    return part_of_list(found[:limit], TlsFigureView.of, after)


@reports.get(
    "/v1/complaints",
    operation_id="listComplaints",
    summary="List complaints of recipients.",
    responses=problems(),
)
async def list_complaints(
    caller: Caller,
    figures: Figures,
    asked: AskedList,
    domain: Annotated[
        str | None, Query(max_length=1000, description="Only about senders of this domain.")
    ] = None,
    tenant: OfTenant = None,
    sort: Annotated[Literal["created", "-created"] | None, Query(description=SORT)] = None,
) -> Page[ComplaintView]:
    """The newest first, as mailboxes received them from feedback loops (RFC 5965). `q` is part of
    the recipient or of the reporter. A complaint that is believed, about a message that was sent
    from here, suppresses the recipient if it comes from the recipient's domain or a known feedback
    loop, or the message had no other recipient elsewhere. Kept for 400 days.
    """
    name = None if domain is None else domain_in("domain", domain)
    found = await figures.complaints(caller.tenant, name, asked.query(sort, owner=tenant))
    return listed(found, ComplaintView.of, sort)


def _period(since: date | None, until: date | None) -> Period:
    try:
        last = until or datetime.now(UTC).date()
        first = last - _DEFAULT if since is None else since
        if not first <= last <= first + timedelta(days=KEPT_DAYS):
            raise ValidationFailed(
                FieldError("since", f"must not be after until, nor {KEPT_DAYS} days before")
            )
    except OverflowError:
        raise ValidationFailed(FieldError("since", "not a valid day")) from None
    return Period(first, last)
