"""How a verdict is written for people."""

from __future__ import annotations

from typing import Any

from posthorn_cli.output import Column, harmless


def verdict_text(verdict: Any) -> str:
    """Write a verdict in lines: the score, the results of authentication, the rules and what the
    engines did."""
    if not isinstance(verdict, dict):
        return "not scanned"
    lines = [f"{verdict['score']:g} points"]
    if verdict["virus"]:
        lines.append(f"virus {verdict['virus']}")
    if verdict["gave_up"]:
        lines.append("delivered unscanned: nobody scanned for too long")
    elif not verdict["complete"]:
        lines.append("incomplete: an engine did not judge the message")
    lines += [
        " ".join((f"{each['method']}={each['result']}", each["identity"], _in(each["detail"])))
        for each in verdict["authentication"]
        if each["result"] != "none"
    ]
    lines += [
        f"{each['points']:+g} {each['name']} {_in(each['detail'])}" for each in verdict["rules"]
    ]
    lines += [
        f"{each['name']} {each['state']}, {each['milliseconds']} ms {_in(each['detail'])}"
        for each in verdict["engines"]
    ]
    return "; ".join(harmless(line).strip() for line in lines)


def filing_text(filed: Any) -> str:
    """Write what a filter policy decided."""
    if not isinstance(filed, dict):
        return "-"
    return f"{filed['action']}: {filed['reason']}, {filed['detail']}"


def _in(detail: str) -> str:
    return f"({detail})" if detail else ""


VERDICT = Column("verdict", show=verdict_text)
FILED = Column("filed", show=filing_text)


def scanned_detail(detail: dict[str, Any]) -> dict[str, Any]:
    """Return the detail of a ``scanned`` event of a trace in short: one word for each rule, result
    and engine."""
    found: dict[str, Any] = {"score": detail.get("score"), "virus": detail.get("virus")}
    if detail.get("gave_up"):
        found["gave_up"] = True
    auth = detail.get("auth")
    if isinstance(auth, dict):
        for method in ("spf", "dkim", "dmarc", "arc"):
            results = auth.get(method)
            found[method] = [
                each.get("outcome")
                for each in (results if isinstance(results, list) else [results])
                if isinstance(each, dict) and each.get("outcome", "none") != "none"
            ]
    found["rules"] = [f"{name}:{points:+g}" for name, points, *_ in _listed(detail, "rules")]
    found["engines"] = [
        f"{name}:{state}:{milliseconds}ms"
        for name, state, milliseconds, *_ in _listed(detail, "engines")
    ]
    return found


def _listed(detail: dict[str, Any], name: str) -> list[list[Any]]:
    found = detail.get(name)
    return [each for each in found if isinstance(each, list)] if isinstance(found, list) else []
