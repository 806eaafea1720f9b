"""Figures of reports, as the API shows them."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

from pydantic import Field

from posthorn.ports.reports import DmarcFigure, StoredComplaint, TlsFigure
from posthorn_api.http.schemas import ApiModel

_REPORTER = (
    "Domain of the receiver that reports; the name it gives itself if it is not believed; empty for"
    " what goes beyond the rows kept of a day."
)
_BELIEVED = "Whether the message with the report passed DMARC."


class DmarcFigureView(ApiModel):
    """Messages in the domain's name from one source, as a receiver judged them."""

    source: str = Field(
        description="IP address; empty for what goes beyond the rows kept of a day."
    )
    reporter: str = Field(description=_REPORTER)
    believed: bool = Field(description=_BELIEVED)
    disposition: str = Field(description="none, quarantine, reject or pass.")
    dkim_aligned: bool = Field(description="Whether DKIM passed for the domain.")
    spf_aligned: bool = Field(description="Whether SPF passed for the domain.")
    messages: int
    first_day: date
    last_day: date

    @classmethod
    def of(cls, figure: DmarcFigure) -> DmarcFigureView:
        """Show a figure."""
        return cls(
            source=figure.source,
            reporter=figure.reporter,
            believed=figure.is_believed,
            disposition=figure.disposition,
            dkim_aligned=figure.dkim_aligned,
            spf_aligned=figure.spf_aligned,
            messages=figure.messages,
            first_day=figure.first_day,
            last_day=figure.last_day,
        )


class TlsFigureView(ApiModel):
    """Sessions of one sender with the domain's hosts, by result."""

    reporter: str = Field(description=_REPORTER)
    believed: bool = Field(description=_BELIEVED)
    policy_type: str = Field(description="sts, tlsa or no-policy-found (RFC 8460).")
    result_type: str | None = Field(
        description="Why sessions failed, such as certificate-expired (RFC 8460 §4.3); null: they"
        " succeeded."
    )
    receiving_host: str
    sessions: int
    first_day: date
    last_day: date

    @classmethod
    def of(cls, figure: TlsFigure) -> TlsFigureView:
        """Show a figure."""
        return cls(
            reporter=figure.reporter,
            believed=figure.is_believed,
            policy_type=figure.policy_type,
            result_type=figure.result_type or None,
            receiving_host=figure.receiving_host,
            sessions=figure.sessions,
            first_day=figure.first_day,
            last_day=figure.last_day,
        )


class ComplaintView(ApiModel):
    """A recipient's complaint about a message, from a feedback loop (RFC 5965)."""

    id: UUID = Field(description="Id of the message with the complaint.")
    message: UUID | None = Field(
        description="Id of the message complained of; null if it is not one known to be sent from here."
    )
    recipient: str = Field(description="Who complains; may be disguised.")
    domain: str = Field(description="Domain of the sender.")
    feedback_type: str = Field(description="abuse, fraud, virus, opt-out, other …")
    reporter: str
    believed: bool = Field(description=_BELIEVED)
    suppressed: bool = Field(description="Whether the recipient was put on the suppression list.")
    created_at: datetime

    @classmethod
    def of(cls, complaint: StoredComplaint) -> ComplaintView:
        """Show a complaint."""
        return cls(
            id=complaint.id,
            message=complaint.message,
            recipient=complaint.recipient,
            domain=complaint.domain,
            feedback_type=complaint.feedback_type,
            reporter=complaint.reporter,
            believed=complaint.is_believed,
            suppressed=complaint.is_suppressed,
            created_at=complaint.created_at,
        )
