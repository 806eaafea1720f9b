"""The JSON shapes of a probe of a route."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field

from posthorn.ports.route_probes import (
    ProbedConnection,
    ProbedTls,
    ProbeFailure,
    ProbeReport,
    ProbeStep,
)
from posthorn.wire.smtp.reply_meanings import meaning_of
from posthorn_api.http.schemas import ApiModel, Line

# fmt: off
Stage = Literal[
    "dns", "connect", "tls", "greeting", "ehlo", "starttls", "auth", "mail", "rcpt", "rset", "quit",
]
# fmt: on


class RouteProbeRequest(ApiModel):
    """What a probe of a route names."""

    model_config = ConfigDict(extra="forbid", strict=True)

    recipient: Annotated[Line, Field(max_length=1000)] | None = Field(
        None,
        description="Address to name in RCPT, of the domain of the route; null: none is named.",
        examples=["postmaster@example.org"],
    )


class ProbeStepView(ApiModel):
    """A command and its reply."""

    stage: Stage
    command: str = Field(
        description="As it was sent, with `***` for credentials; empty where none was sent."
    )
    code: int | None = Field(description="Code of the reply; null without one.")
    status: str | None = Field(description="Enhanced status code (RFC 3463), if there is one.")
    reply: str = Field(description="The reply of the host, line by line, or what went wrong.")
    meaning: str | None = Field(description="What the reply means; null if nothing is known.")
    seconds: float = Field(description="Time until the reply.")

    @classmethod
    def of(cls, step: ProbeStep) -> Self:
        """Return the view."""
        return cls(
            stage=step.stage,  # type: ignore[arg-type]
            command=step.command,
            code=step.code or None,
            status=step.status or None,
            reply=step.reply,
            meaning=meaning_of(step.code, step.status) or None,
            seconds=round(step.seconds, 6),
        )


class ProbedTlsView(ApiModel):
    """TLS of a connection, and the certificate that the host showed."""

    version: str
    cipher: str
    verdict: Literal["verified", "dane", "unverified", "rejected"] = Field(
        description="verified: by the trusted authorities and by name; dane: by TLSA records; unverified: the"
        " route demands no certificate; rejected: not as it is demanded."
    )
    names: list[str]
    issuer: str | None
    expires_at: datetime | None
    problem: str | None = Field(
        description="Why the certificate is rejected, or, where none is demanded, what is wrong with its names"
        " and dates."
    )

    @classmethod
    def of(cls, tls: ProbedTls) -> Self:
        """Return the view."""
        return cls(
            version=tls.version,
            cipher=tls.cipher,
            verdict=tls.verdict,  # type: ignore[arg-type]
            names=list(tls.names),
            issuer=tls.issuer or None,
            expires_at=None
            if tls.expires_at is None
            else datetime.fromtimestamp(tls.expires_at, UTC),
            problem=tls.problem or None,
        )


class ProbedConnectionView(ApiModel):
    """A connection to one address of one host."""

    host: str
    address: str
    port: int
    tls: ProbedTlsView | None = Field(description="null: plain text.")
    authentication: Literal["accepted", "refused"] | None = Field(
        description="Whether the host took the login of the route; null: none was sent."
    )
    extensions: list[str] = Field(description="What the last reply to EHLO offers.")
    steps: list[ProbeStepView]

    @classmethod
    def of(cls, connection: ProbedConnection) -> Self:
        """Return the view."""
        logins = [step.code for step in connection.steps if step.stage == "auth" and step.command]
        taken = None if not logins else "accepted" if logins[-1] // 100 == 2 else "refused"
        return cls(
            host=connection.host,
            address=connection.address,
            port=connection.port,
            tls=None if connection.tls is None else ProbedTlsView.of(connection.tls),
            authentication=taken,  # type: ignore[arg-type]
            extensions=list(connection.extensions),
            steps=[ProbeStepView.of(step) for step in connection.steps],
        )


class ProbeFailureView(ApiModel):
    """Why mail would not be sent by the route now."""

    stage: Stage
    code: int | None
    status: str | None
    reply: str
    meaning: str | None
    permanent: bool = Field(description="Whether a message would bounce; otherwise it would wait.")

    @classmethod
    def of(cls, failure: ProbeFailure) -> Self:
        """Return the view."""
        return cls(
            stage=failure.stage,  # type: ignore[arg-type]
            code=failure.code or None,
            status=failure.status or None,
            reply=failure.reply,
            meaning=meaning_of(failure.code, failure.status) or None,
            permanent=failure.permanent and failure.stage in ("dns", "mail", "rcpt"),
        )


class RouteProbeView(ApiModel):
    """What a probe of a route found."""

    domain: str
    outcome: Literal["accepted", "deferred", "refused"] = Field(
        description="What would have happened to a message."
    )
    failure: ProbeFailureView | None = Field(description="null if the host takes mail.")
    connections: list[ProbedConnectionView] = Field(
        description="In the order in which they were made; the last one decides."
    )
    seconds: float

    @classmethod
    def of(cls, domain: str, report: ProbeReport) -> Self:
        """Return the view."""
        failure = None if report.failure is None else ProbeFailureView.of(report.failure)
        outcome = "accepted" if not failure else "refused" if failure.permanent else "deferred"
        return cls(
            domain=domain,
            outcome=outcome,  # type: ignore[arg-type]
            failure=failure,
            connections=[ProbedConnectionView.of(each) for each in report.connections],
            seconds=round(report.seconds, 6),
        )
