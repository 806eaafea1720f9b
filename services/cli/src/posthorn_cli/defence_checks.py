"""What `posthorn doctor` says of the scanning tier, its engines and lists, and of our own listings."""

from __future__ import annotations

from collections.abc import Iterator

from posthorn_cli.client import ApiError, Unreachable
from posthorn_cli.faults import lines_of
from posthorn_cli.probes import FAIL, OK, UNKNOWN, WARN, Finding
from posthorn_cli.session import Session


def defence_findings(session: Session) -> Iterator[Finding]:
    """Yield a finding for each part of the defence."""
    try:
        found = session.api.get_defence()
    except (ApiError, Unreachable) as error:
        forbidden = isinstance(error, ApiError) and error.status == 403
        yield Finding(
            "defence",
            UNKNOWN,
            "only a platform admin's key sees it" if forbidden else lines_of(error)[0],
        )
        return
    waiting = found["unscanned"]
    backlog = "" if not waiting else f", {waiting} messages wait to be scanned"
    if not found["scanning"]:
        yield Finding("scan", WARN, f"mail is accepted unscanned: {found['detail']}{backlog}")
        return
    yield Finding("scan", WARN if waiting else OK, f"it answers{backlog}")
    yield Finding(
        "resolver of scan",
        OK if found["resolver_up"] else FAIL,
        "it answers" if found["resolver_up"] else "no name server answers",
    )
    for engine in found["engines"]:
        yield Finding(engine["name"], OK if engine["up"] else FAIL, engine["detail"])
    for zone in found["zones"]:
        yield Finding(
            f"blocklist {zone['zone']}",
            OK if zone["healthy"] else WARN,
            zone["detail"] or "in use",
        )
    if found["zones"]:
        yield from _listings(session)


def _listings(session: Session) -> Iterator[Finding]:
    try:
        found = session.api.get_listings()
    except (ApiError, Unreachable) as error:
        yield Finding("own listings", UNKNOWN, lines_of(error)[0])
        return
    for each in found["listings"]:
        yield Finding(
            f"{each['subject']} on {each['zone']}", FAIL, f"{each['code']} {each['reason']}".strip()
        )
    if not found["listings"]:
        names = len(found["addresses"]) + len(found["domains"])
        yield Finding("own listings", OK, f"none of {names} addresses and domains is listed")
