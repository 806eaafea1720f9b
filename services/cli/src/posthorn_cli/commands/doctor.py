"""`posthorn doctor`: is everything as it should be?"""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from posthorn_cli import contexts
from posthorn_cli.client import ApiError, ClientError, Unreachable, every
from posthorn_cli.client.connection import verifying_context
from posthorn_cli.client.types import DnsCheckView, DomainView
from posthorn_cli.defence_checks import defence_findings
from posthorn_cli.faults import FAILED, CommandError, lines_of, usage
from posthorn_cli.filter_probes import filter_findings
from posthorn_cli.output import Column
from posthorn_cli.places import Place, place_of
from posthorn_cli.postmaster import without_postmaster
from posthorn_cli.probes import (
    BLOCKLISTS,
    FAIL,
    OK,
    UNKNOWN,
    WARN,
    Finding,
    Trip,
    address_of_pointer,
    blocklisted,
    certificate,
    round_trip,
)
from posthorn_cli.reserved import is_reserved
from posthorn_cli.session import Session, command
from posthorn_cli.values import seconds_of, secret

app = typer.Typer()

COLUMNS = [Column("status"), Column("check"), Column("detail", prose=True)]
HALTED = "halted"
"""The problem type of every answer while the stores are not known to belong together."""
_VERDICTS = {"right": OK, "unknown": UNKNOWN}


@command(app, "doctor")
def doctor(
    session: Session,
    *,
    domain: Annotated[
        list[str] | None,
        typer.Option(help="Look at this domain's DNS; without it, at every domain's."),
    ] = None,
    no_dns: Annotated[bool, typer.Option("--no-dns", help="Leave out DNS and blocklists.")] = False,
    address: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IP", help="An outgoing address; without it, those that the API knows of."
        ),
    ] = None,
    blocklist: Annotated[
        list[str] | None,
        typer.Option(metavar="ZONE", help="Ask this list in place of the usual ones."),
    ] = None,
    tls: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help="TLS must verify here; smtp://, imap:// or pop3:// before it for STARTTLS.",
        ),
    ] = None,
    message_to: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Send a test message to this account.")
    ] = None,
    message_from: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="From whom; without it, from itself.")
    ] = None,
    smtp: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where the message is submitted.")
    ] = None,
    imap: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where it is read by IMAP, over TLS or STARTTLS."),
    ] = None,
    pop3: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where it is fetched by POP3, over TLS or STLS."),
    ] = None,
    password_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="The account's password; `-`: from stdin.")
    ] = None,
    filters: Annotated[
        bool,
        typer.Option(
            "--filters",
            help="Send that account the test messages of spam filters and virus scanners too.",
        ),
    ] = False,
    wait: Annotated[
        str, typer.Option(metavar="SPAN", help="How long the message may take.")
    ] = "30s",
) -> None:
    """Check the system: the API and what it needs, each domain's DNS, blocklists, TLS, and a
    message from SMTP to IMAP and POP3.

    Each line is ok, warn, fail or unknown (what could not be found out from here). The exit code is
    1 when anything fails.

    Example: `posthorn doctor --tls mail.example.org:465 --message-to probe@example.org --smtp
    mail.example.org:25 --imap mail.example.org:993 --password-file probe.password`
    """
    context = verifying_context(_ca_file(session), system=True)
    places = [place_of(each) for each in tls or ()]
    addresses = [_address(each) for each in address or ()]
    if filters and message_to is None:
        raise usage("--filters needs --message-to and --smtp: the port of the role mx")
    trip = _trip(
        session, message_to, message_from, smtp, imap, pop3, password_file, seconds_of(wait)
    )
    counts: Counter[str] = Counter()

    def counted() -> Iterator[dict[str, str]]:
        for finding in _findings(
            session, domain, no_dns, addresses, blocklist, places, trip, context
        ):
            counts[finding.status] += 1
            yield asdict(finding)
        if filters and trip is not None:
            for finding in filter_findings(
                session, trip.smtp, trip.recipient, trip.seconds, context
            ):
                counts[finding.status] += 1
                yield asdict(finding)

    session.output.items(counted(), COLUMNS)
    session.output.note(
        ", ".join(
            f"{counts[status]} {status}" for status in (OK, WARN, FAIL, UNKNOWN) if counts[status]
        )
    )
    if counts[FAIL]:
        raise CommandError(f"{counts[FAIL]} of {counts.total()} checks failed", FAILED)


def _findings(
    session: Session,
    domains: list[str] | None,
    no_dns: bool,
    addresses: list[IPv4Address | IPv6Address],
    zones: list[str] | None,
    places: list[Place],
    trip: Trip | None,
    context: ssl.SSLContext,
) -> Iterator[Finding]:
    reached = yield from _api(session)
    names = domains or []
    listed: list[DomainView] | None = None
    if reached and not domains:
        try:
            listed = list(every(session.api.list_domains))
            names = [each["name"] for each in listed]
        except (ApiError, Unreachable) as error:
            yield Finding("domains", UNKNOWN, lines_of(error)[0])
            reached = False
    if reached:
        yield from _postmasters(session, names, listed)
        yield from defence_findings(session)
    url = urlsplit(session.api.url)
    if url.scheme == "https":
        yield certificate(Place(url.hostname or "", url.port or 443, "tls"), context)
    if not no_dns:
        pointers: set[IPv4Address | IPv6Address] = set()
        if reached:
            yield from _dns(session, names, pointers, named=domains is not None)
        wanted = addresses or sorted(pointers, key=str)
        if not wanted and not all(is_reserved(name) for name in names):
            yield Finding(
                "blocklists", UNKNOWN, "no outgoing address is known: name it with --address"
            )
        with ThreadPoolExecutor(8) as pool:
            pairs = [(each, zone) for each in wanted for zone in zones or BLOCKLISTS]
            yield from pool.map(lambda pair: blocklisted(*pair), pairs)
    for place in places:
        yield certificate(place, context)
    if trip is not None:
        yield round_trip(trip, context)


def _api(session: Session) -> Generator[Finding, None, bool]:
    """Check the API. Return whether more can be asked of it; while it is halted, or Postgres is
    away, it answers every question with 503, each after several tries."""
    api = session.api
    try:
        about = api.request("GET", "/openapi.json").json()["info"]
        yield Finding("API", OK, f"{api.url}, version {about['version']}")
    except (ClientError, ValueError, KeyError, TypeError) as error:
        yield Finding(
            "API",
            FAIL,
            lines_of(error)[0] if isinstance(error, ClientError) else "this is no Posthorn API",
        )
        return False
    if (yield from _state(session)):
        return False
    try:
        api.list_domains(limit=1)
        yield Finding("API key", OK, "taken")
    except (ApiError, Unreachable) as error:
        halted = isinstance(error, ApiError) and error.slug == HALTED
        if not halted:
            yield Finding("API key", FAIL, lines_of(error)[0])
        return isinstance(error, ApiError) and not halted
    try:
        parked = api.list_dead_letters(limit=1)["items"]
        yield Finding(
            "dead letters",
            WARN if parked else OK,
            "there are some: `posthorn dead-letter list`" if parked else "none",
        )
    except (ApiError, Unreachable) as error:
        foreign = isinstance(error, ApiError) and error.status == 403
        said = "only a platform admin's key sees them" if foreign else lines_of(error)[0]
        yield Finding("dead letters", UNKNOWN, said)
    return True


def _state(session: Session) -> Generator[Finding, None, bool]:
    """What the API needs, each part named with its state, and whether the stores belong together
    (ADR 18). Return whether the API answers nothing else."""
    what = "what the API needs"
    try:
        found = session.api.get_status()
    except (ApiError, Unreachable) as error:
        if isinstance(error, ApiError) and error.slug == HALTED:
            yield Finding("installation", FAIL, f"halted: {lines_of(error)[0]}")
            return True
        foreign = isinstance(error, ApiError) and error.status in (401, 403, 404)
        yield Finding(what, UNKNOWN if foreign else FAIL, lines_of(error)[0])
        return not foreign
    parts = {part["name"]: part["state"] for part in found["parts"]}
    installation = parts.pop("installation", None)
    if installation is not None:
        sound = installation == "ok"
        yield Finding(
            "installation",
            OK if sound else FAIL,
            "the database, the blob store and NATS belong together"
            if sound
            else f"halted: {installation}",
        )
    wrong = [f"{name}: {state}" for name, state in parts.items() if state != "ok"]
    ready = found["ready"] or installation not in (None, "ok")
    yield Finding(
        what,
        OK if ready and not wrong else FAIL,
        ", ".join(wrong or [f"{name} ok" for name in parts]) or "nothing",
    )
    return installation not in (None, "ok")


def _postmasters(
    session: Session, names: list[str], listed: list[DomainView] | None
) -> Iterator[Finding]:
    try:
        for domain in map(session.api.get_domain, names) if listed is None else listed:
            if missing := without_postmaster(domain):
                yield Finding(f"postmaster of {domain['name']}", WARN, missing)
    except (ApiError, Unreachable) as error:
        yield Finding("postmasters", UNKNOWN, lines_of(error)[0])


def _dns(
    session: Session, names: list[str], pointers: set[IPv4Address | IPv6Address], named: bool
) -> Iterator[Finding]:
    """DNS of domains as the API finds it; the outgoing addresses that it names go into
    ``pointers``.

    A reserved domain is local: its records are looked up only when it was ``named``, and none that
    is missing is a failure.
    """
    for name in names:
        reserved = is_reserved(name)
        if reserved and not named:
            yield Finding(
                f"DNS of {name}",
                OK,
                "a reserved name (RFC 6761), for mail within this system alone",
            )
            continue
        try:
            checked = session.api.check_dns(name)
        except (ApiError, Unreachable) as error:
            yield Finding(f"DNS of {name}", UNKNOWN, lines_of(error)[0])
            continue
        yield from _records(checked, WARN if reserved else FAIL)
        pointers.update(
            found
            for record in checked["records"]
            if record["purpose"] == "ptr" and (found := address_of_pointer(record["name"]))
        )


def _records(checked: DnsCheckView, worst: str) -> Iterator[Finding]:
    name, records = checked["domain"], checked["records"]
    for record in records:
        if record["verdict"] == "right":
            continue
        status = _VERDICTS.get(record["verdict"], worst if record["need"] == "required" else WARN)
        yield Finding(
            f"DNS of {name}: {record['type']} {record['name']}",
            status,
            f"{record['verdict']}: {record['detail']}",
        )
    right = sum(record["verdict"] == "right" for record in records)
    if right:
        yield Finding(f"DNS of {name}", OK, f"{right} of {len(records)} records are right")


def _trip(
    session: Session,
    recipient: str | None,
    sender: str | None,
    smtp: str | None,
    imap: str | None,
    pop3: str | None,
    password_file: str | None,
    seconds: float,
) -> Trip | None:
    if recipient is None:
        if smtp or imap or pop3 or sender or password_file:
            raise usage("name the recipient of the test message: --message-to")
        return None
    if smtp is None or (imap is None and pop3 is None):
        raise usage(
            "a test message needs --smtp, where it is submitted, and --imap or --pop3, where it is read"
        )
    password = secret(session.output, f"password of {recipient}", password_file)
    return Trip(
        sender or recipient,
        recipient,
        password,
        place_of(smtp),
        place_of(imap) if imap else None,
        place_of(pop3) if pop3 else None,
        seconds,
    )


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise usage(f"{text!r} is no IP address") from None


def _ca_file(session: Session) -> Path | None:
    return contexts.choose(session.context, session.settings).ca_file or session.settings.ca_file
