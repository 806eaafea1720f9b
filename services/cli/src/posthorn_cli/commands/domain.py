"""`posthorn domain`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, cast

import typer

from posthorn_cli.client.connection import quoted
from posthorn_cli.client.types import DomainChange, DomainCreation
from posthorn_cli.faults import CommandError
from posthorn_cli.options import Domain, list_options
from posthorn_cli.output import MANAGED_BY, Column, size, state_style
from posthorn_cli.postmaster import without_postmaster
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, Yes, command, group
from posthorn_cli.values import given, nullable, require_change, size_of, whole_number, words_of

domains = group(
    "Domains that mail is received for and sent from.\n\nExample: `posthorn domain create example.org`"
)
CatchAll = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS|none", help="Takes mail for addresses that do not exist."),
]
Plus = Annotated[
    bool | None,
    typer.Option(
        "--plus-addressing/--no-plus-addressing", help="Whether name+anything belongs to name."
    ),
]
Count = Annotated[
    str | None, typer.Option(metavar="NUMBER|none", help="How many; `none`: without a limit.")
]
COLUMNS = [
    Column("name"),
    Column("tenant"),
    Column("catch_all", "catch-all"),
    Column("postmaster"),
    Column("accounts"),
    Column("max_accounts", "accounts at most"),
    Column("promised_bytes", "promised", size, seldom=True),
    Column("quota_bytes", "quota", size),
    Column("verified_at", "verified"),
    Column("dns_state", "DNS", style=state_style),
    Column("dns_checked_at", "DNS checked"),
    Column("dkim_signs_from", "DKIM since"),
    Column("created_at"),
    MANAGED_BY,
]
DNS_COLUMNS = [Column("name"), Column("ttl"), Column("type"), Column("value"), Column("need")]
CLIENT_COLUMNS = [Column("protocol"), Column("host"), Column("port"), Column("security")]
CHECK_COLUMNS = [
    Column("verdict", style=state_style),
    Column("need"),
    Column("type"),
    Column("name"),
    Column("detail", prose=True),
    Column("values", prose=True),
    Column("found", prose=True),
]


@command(domains, "list", list_options("name", "created", states="verified or unverified"))
def list_domains(
    session: Session,
    /,
    *,
    dns: Annotated[
        Literal["right", "wrong", "unknown", "unchecked"] | None,
        typer.Option(help="Only those with this verdict of the last check of their DNS records."),
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    whole: All = False,
    **asked: Any,
) -> None:
    """List domains by name.

    Example: `posthorn domain list --dns wrong`
    """
    session.list(session.api.list_domains, COLUMNS, limit, whole, dns=dns, **asked)


@command(domains, "show")
def show_domain(session: Session, name: Domain) -> None:
    """Show a domain with its settings.

    Example: `posthorn domain show example.org`
    """
    session.output.item(session.api.get_domain(name), COLUMNS)


@command(domains, "create")
def create_domain(
    session: Session,
    name: Domain,
    *,
    tenant: Annotated[
        str | None, typer.Option(help="Whose it is; without it yours, or `default`.")
    ] = None,
    catch_all: CatchAll = None,
    plus_addressing: Plus = None,
    dkim: Annotated[
        bool, typer.Option("--dkim/--no-dkim", help="Whether DKIM keys are made with it.")
    ] = True,
) -> None:
    """Create a domain with its DKIM keys, and show the DNS records to publish.

    In a pipe the records follow the fields of the domain, as `posthorn domain dns` prints them.

    Example: `posthorn domain create example.org --tenant acme`
    """
    body = (
        {"name": name, "dkim": dkim}
        | given(tenant=tenant, plus_addressing=plus_addressing)
        | nullable("catch_all", catch_all)
    )
    made = session.api.create_domain(cast("DomainCreation", body))
    if session.output.as_json:
        session.output.json(made)
    else:
        session.output.item(
            {name: value for name, value in made.items() if name != "dns_records"}, COLUMNS
        )
        session.output.note("DNS records to publish:")
        session.output.items(_by_value(made["dns_records"]), DNS_COLUMNS)
    if missing := without_postmaster(made):
        session.output.note(f"warning: {missing}")


@command(domains, "set")
def set_domain(
    session: Session,
    name: Domain,
    *,
    catch_all: CatchAll = None,
    plus_addressing: Plus = None,
    max_accounts: Count = None,
    quota: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE|none", help="What its accounts may be promised together, such as 50GiB."
        ),
    ] = None,
    max_messages_per_hour: Count = None,
    max_recipients_per_hour: Count = None,
    allowed_networks: Annotated[
        str | None,
        typer.Option(metavar="CIDR,…|none", help="Networks that mail may be submitted from."),
    ] = None,
    retention_days: Annotated[
        str | None,
        typer.Option(metavar="DAYS|none", help="Days after which mail is deleted; none: never."),
    ] = None,
    undelete_days: Annotated[
        int | None, typer.Option(help="Days in which deleted mail can be brought back.")
    ] = None,
    account_forwards: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="Addresses that each account may forward to; 0: none."),
    ] = None,
) -> None:
    """Change what is named; the rest stays.

    Example: `posthorn domain set example.org --catch-all postmaster@example.org`
    """
    body = (
        given(
            plus_addressing=plus_addressing,
            undelete_days=undelete_days,
            account_forwards=account_forwards,
        )
        | nullable("catch_all", catch_all)
        | nullable("max_accounts", max_accounts, whole_number)
        | nullable("quota_bytes", quota, size_of)
        | nullable("max_messages_per_hour", max_messages_per_hour, whole_number)
        | nullable("max_recipients_per_hour", max_recipients_per_hour, whole_number)
        | nullable("allowed_networks", allowed_networks, words_of)
        | nullable("retention_days", retention_days, whole_number)
    )
    require_change(body)
    session.api.get_domain(name)
    changed = session.api.change_domain(name, cast("DomainChange", body), if_match=session.api.etag)
    session.output.item(changed, COLUMNS)


@command(domains, "delete")
def delete_domain(session: Session, name: Domain, *, yes: Yes = False) -> None:
    """Delete a domain that has no accounts and aliases any more.

    Example: `posthorn domain delete example.org`
    """
    found = session.api.get_domain(name)
    etag = session.api.etag
    session.ask(f"Delete the domain {found['name']}?", yes)
    session.api.delete_domain(name, if_match=etag)
    session.output.deleted("domain", found["name"])


@command(domains, "dns")
def show_dns(
    session: Session,
    name: Domain,
    *,
    zone: Annotated[bool, typer.Option("--zone", help="Print a piece of a zone file.")] = False,
) -> None:
    """Show the DNS records to publish, so that mail arrives and is believed.

    In a pipe: name, TTL, type, value and need, with tabs between them.

    Example: `posthorn domain dns example.org --zone >> example.org.zone`
    """
    if zone:
        session.output.write(
            [
                session.api.request(
                    "GET", f"/v1/domains/{quoted(name)}/dns", query={"format": "zone"}
                ).content
            ]
        )
        return
    found = session.api.get_dns(name)
    if session.output.as_json:
        session.output.json(found)
        return
    session.output.items(_by_value(found["records"]), DNS_COLUMNS)
    for note in found["notes"]:
        session.output.note(note)


@command(domains, "clients")
def show_client_servers(session: Session, name: Domain) -> None:
    """Show the servers that mail clients of a domain's accounts are set up with.

    The preferred ones come first; the user name is always the address in full.

    Example: `posthorn domain clients example.org`
    """
    session.output.items(session.api.get_dns(name)["client_servers"], CLIENT_COLUMNS)


@command(domains, "dns-check")
def check_dns(session: Session, name: Domain) -> None:
    """Look the records up, and say of each: right, missing, wrong and how to mend it, or unknown.

    The exit code is 1 when something is not right that is required.

    Example: `posthorn domain dns-check example.org`
    """
    found = session.api.check_dns(name)
    if session.output.as_json:
        session.output.json(found)
    else:
        session.output.items(found["records"], CHECK_COLUMNS)
        for note in found["notes"]:
            session.output.note(note)
    if not found["right"]:
        raise CommandError(f"the DNS of {found['display_name']} is not as it must be")


@command(domains, "dns-check-all")
def check_all_dns(
    session: Session,
    *,
    tenant: Annotated[
        str | None, typer.Option(help="Only those of the tenant of this name or id.")
    ] = None,
) -> None:
    """Have the records of all domains looked up in the background.

    `posthorn domain list` shows the results.

    Example: `posthorn domain dns-check-all`
    """
    due = session.api.check_all_dns(tenant=tenant)["due"]
    session.output.done(f"{due} domains are checked", {"due": due})


@command(domains, "verify")
def verify_domain(session: Session, name: Domain) -> None:
    """Show that a domain is yours, by the TXT record `ownership` that `posthorn domain dns` gives.

    Example: `posthorn domain verify example.org`
    """
    session.output.item(session.api.verify_domain(name), COLUMNS)


def _by_value(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each value, as DNS has it."""
    return [{**record, "value": value} for record in records for value in record["values"]]
