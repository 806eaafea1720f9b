"""The JSON shape of a verdict, wherever one is shown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Self

from pydantic import Field

from posthorn.model.verdict import Verdict, VerdictError, decode_verdict
from posthorn.wire.auth.results import Outcome
from posthorn_api.http.schemas import ApiModel


class RuleView(ApiModel):
    """A rule that matched."""

    name: str
    points: float
    detail: str


class EngineView(ApiModel):
    """An engine's part in a verdict."""

    name: str
    state: str = Field(description="ok, skipped, too-large, timeout or down.")
    milliseconds: int
    detail: str


class AuthenticationView(ApiModel):
    """A result of sender authentication, in the words of RFC 8601."""

    method: str = Field(description="iprev, spf, dkim, dmarc or arc.")
    result: str = Field(examples=["pass"])
    identity: str = Field(description="What was checked: a domain, or for iprev the host's name.")
    detail: str


class VerdictView(ApiModel):
    """What the scanning tier found about a message."""

    score: float
    virus: str | None = Field(description="Name of the signature, if a virus was found.")
    scanned_at: datetime
    complete: bool = Field(description="False if an engine did not judge the message.")
    gave_up: bool = Field(
        description="True if the message was delivered without being scanned, because nobody scanned for too long."
    )
    rules: list[RuleView]
    engines: list[EngineView]
    authentication: list[AuthenticationView]

    @classmethod
    def of(cls, document: Mapping[str, Any] | None) -> Self | None:
        """Show a stored verdict; None for a message that was not scanned."""
        try:
            verdict = decode_verdict(document) if document else None
        except VerdictError:
            return None
        if verdict is None:
            return None
        return cls(
            score=verdict.score,
            virus=verdict.virus or None,
            scanned_at=datetime.fromtimestamp(verdict.scanned_at, UTC),
            complete=verdict.is_complete,
            gave_up=verdict.gave_up,
            rules=[
                RuleView(name=each.name, points=each.points, detail=each.detail)
                for each in verdict.rules
            ],
            engines=[
                EngineView(
                    name=each.name,
                    state=each.state.value,
                    milliseconds=each.milliseconds,
                    detail=each.detail,
                )
                for each in verdict.engines
            ],
            authentication=list(_results(verdict)),
        )


class FilingView(ApiModel):
    """What a filter policy decided on a copy."""

    action: str = Field(description="deliver, mark or junk.", examples=["junk"])
    reason: str = Field(
        description="virus, dmarc, score, blocked, allowed or known.", examples=["score"]
    )
    score: float = Field(description="Points, those of the account's own training included.")
    detail: str = Field(description="The rule or list entry that decided.")

    @classmethod
    def of(cls, decision: object) -> Self | None:
        """Show a stored decision."""
        match decision:
            case [str(action), str(reason), int() | float() as score, str(detail)]:
                return cls(action=action, reason=reason, score=score, detail=detail)
        return None


def _results(verdict: Verdict) -> list[AuthenticationView]:
    found = verdict.authentication
    shown = [("iprev", found.iprev.outcome, found.iprev.name, "")]
    shown += [("spf", each.outcome, each.domain, each.reason) for each in found.spf]
    shown += [("dkim", each.outcome, each.domain, each.reason) for each in found.dkim]
    shown.append(("dmarc", found.dmarc.outcome, found.dmarc.domain, found.dmarc.reason))
    if found.arc.outcome is not Outcome.NONE:
        sealer = found.arc.sealers[0] if found.arc.sealers else ""
        shown.append(("arc", found.arc.outcome, sealer, found.arc.reason))
    return [
        AuthenticationView(method=method, result=outcome.value, identity=identity, detail=detail)
        for method, outcome, identity, detail in shown
    ]
