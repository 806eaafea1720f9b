"""`posthorn domain`, `posthorn dkim` and `posthorn alias`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, cast

import typer

from posthorn_cli.client.connection import quoted
from posthorn_cli.client.types import AliasView, DkimRotation, DomainChange, DomainCreation
from posthorn_cli.commands.tenant import deleted, something
from posthorn_cli.faults import CommandError, usage
from posthorn_cli.output import Column, size, state_style
from posthorn_cli.postmaster import without_postmaster
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, Yes, command, group
from posthorn_cli.values import given, nullable, seconds_of, size_of, whole_number, words_of

domains = group("Domains that mail is received for and sent from.\n\nExample: `posthorn domain create example.org`")
dkim = group("DKIM keys, with which a domain's letters are signed.\n\nExample: `posthorn dkim list example.org`")
aliases = group(
    "Aliases: addresses that lead to others.\n\nExample: `posthorn alias create team@example.org alice@example.org bob@example.org`"
)

Domain = Annotated[str, typer.Argument(help="A domain name.")]
OfDomain = Annotated[str | None, typer.Option("--domain", help="Only addresses of this domain.")]
Alias = Annotated[str, typer.Argument(help="The alias's address.")]
Targets = Annotated[list[str], typer.Argument(help="Accounts or aliases here, or addresses elsewhere.")]
CatchAll = Annotated[
    str | None, typer.Option(metavar="ADDRESS|none", help="Takes mail for addresses that do not exist.")
]
Plus = Annotated[
    bool | None, typer.Option("--plus-addressing/--no-plus-addressing", help="Whether name+anything belongs to name.")
]
Count = Annotated[str | None, typer.Option(metavar="NUMBER|none", help="How many; `none`: without a limit.")]

COLUMNS = [
    Column("name"),
    Column("tenant"),
    Column("catch_all", "catch-all"),
    Column("postmaster"),
    Column("max_accounts", "accounts at most"),
    Column("quota_bytes", "quota", size),
    Column("verified_at", "verified"),
    Column("created_at"),
]
DNS_COLUMNS = [Column("name"), Column("ttl"), Column("type"), Column("value"), Column("need")]
CHECK_COLUMNS = [
    Column("verdict", style=state_style),
    Column("need"),
    Column("type"),
    Column("name"),
    Column("detail"),
    Column("values"),
    Column("found"),
]
ALIAS_COLUMNS = [Column("address"), Column("targets"), Column("created_at")]
DKIM_COLUMNS = [
    Column("selector"),
    Column("algorithm"),
    Column("state"),
    Column("signs_from", "signs from"),
    Column("record"),
    Column("value"),
]


class Algorithm(StrEnum):
    """Algorithms of DKIM."""

    RSA = "rsa"
    ED25519 = "ed25519"


@command(domains, "list")
def list_domains(session: Session, *, limit: Limit = DEFAULT_LIMIT, whole: All = False) -> None:
    """List domains by name.

    Example: `posthorn domain list`
    """
    session.list(session.api.list_domains, COLUMNS, limit, whole)


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
    tenant: Annotated[str | None, typer.Option(help="Whose it is; without it yours, or `default`.")] = None,
    catch_all: CatchAll = None,
    plus_addressing: Plus = None,
) -> None:
    """Make a domain. Then make its accounts, and publish what `posthorn domain dns` shows.

    Example: `posthorn domain create example.org --tenant acme`
    """
    body = {"name": name} | given(tenant=tenant, plus_addressing=plus_addressing) | nullable("catch_all", catch_all)
    made = session.api.create_domain(cast("DomainCreation", body))
    session.output.item(made, COLUMNS)
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
        str | None, typer.Option(metavar="SIZE|none", help="What its accounts may be promised together, such as 50GiB.")
    ] = None,
    max_messages_per_hour: Count = None,
    max_recipients_per_hour: Count = None,
    allowed_networks: Annotated[
        str | None, typer.Option(metavar="CIDR,…|none", help="Networks that mail may be submitted from.")
    ] = None,
    retention_days: Annotated[
        str | None, typer.Option(metavar="DAYS|none", help="Days after which mail is deleted; none: never.")
    ] = None,
    undelete_days: Annotated[int | None, typer.Option(help="Days in which deleted mail can be brought back.")] = None,
) -> None:
    """Change what is named; the rest stays.

    Example: `posthorn domain set example.org --catch-all postmaster@example.org`
    """
    body = (
        given(plus_addressing=plus_addressing, undelete_days=undelete_days)
        | nullable("catch_all", catch_all)
        | nullable("max_accounts", max_accounts, whole_number)
        | nullable("quota_bytes", quota, size_of)
        | nullable("max_messages_per_hour", max_messages_per_hour, whole_number)
        | nullable("max_recipients_per_hour", max_recipients_per_hour, whole_number)
        | nullable("allowed_networks", allowed_networks, words_of)
        | nullable("retention_days", retention_days, whole_number)
    )
    something(body)
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
    deleted(session, "domain", found["name"])


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
        session.output.octets(
            [session.api.request("GET", f"/v1/domains/{quoted(name)}/dns", query={"format": "zone"}).content]
        )
        return
    found = session.api.get_dns(name)
    if session.output.as_json:
        session.output.json(found)
        return
    session.output.items(_by_value(found["records"]), DNS_COLUMNS)
    for note in found["notes"]:
        session.output.note(note)


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


@command(domains, "verify")
def verify_domain(session: Session, name: Domain) -> None:
    """Show that a domain is yours, by the TXT record `ownership` that `posthorn domain dns` gives.

    Example: `posthorn domain verify example.org`
    """
    session.output.item(session.api.verify_domain(name), COLUMNS)


def _by_value(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each value, as DNS has it."""
    return [{**record, "value": value} for record in records for value in record["values"]]


@command(dkim, "list")
def list_dkim(session: Session, name: Domain) -> None:
    """Show the DKIM keys of a domain, newest first, with the TXT record that each needs.

    Example: `posthorn dkim list example.org`
    """
    _dkim(session, cast("dict[str, Any]", session.api.list_dkim_keys(name)))


@command(dkim, "rotate")
def rotate_dkim(
    session: Session,
    name: Domain,
    *,
    algorithm: Annotated[
        list[Algorithm] | None, typer.Option(help="Make a key of this kind; without it, one of each.")
    ] = None,
    selector: Annotated[str | None, typer.Option(help="What the new selectors begin with.")] = None,
    delay: Annotated[
        str | None, typer.Option(metavar="SPAN", help="When the new keys begin to sign, such as 0s or 2d.")
    ] = None,
    overlap: Annotated[
        str | None, typer.Option(metavar="SPAN", help="How long the old records stay published after that.")
    ] = None,
) -> None:
    """Make new DKIM keys; publish the records that are shown, before they begin to sign.

    Example: `posthorn dkim rotate example.org --delay 2d`
    """
    body = given(
        algorithms=algorithm and [each.value for each in algorithm],
        selector=selector,
        delay_seconds=None if delay is None else seconds_of(delay),
        overlap_seconds=None if overlap is None else seconds_of(overlap),
    )
    _dkim(session, cast("dict[str, Any]", session.api.rotate_dkim_keys(name, cast("DkimRotation", body))))


def _dkim(session: Session, found: dict[str, Any]) -> None:
    if session.output.as_json:
        session.output.json(found)
        return
    rows = [{**key, "record": key["dns"]["name"], "value": key["dns"]["value"]} for key in found["keys"]]
    session.output.items(rows, DKIM_COLUMNS)


@command(aliases, "list")
def list_aliases(
    session: Session, *, domain: OfDomain = None, limit: Limit = DEFAULT_LIMIT, whole: All = False
) -> None:
    """List aliases by address.

    Example: `posthorn alias list --domain example.org`
    """
    session.list(session.api.list_aliases, ALIAS_COLUMNS, limit, whole, **given(domain=domain))


@command(aliases, "show")
def show_alias(session: Session, address: Alias) -> None:
    """Show where an alias leads.

    Example: `posthorn alias show team@example.org`
    """
    session.output.item(session.api.get_alias(address), ALIAS_COLUMNS)


@command(aliases, "create")
def create_alias(session: Session, address: Alias, targets: Targets) -> None:
    """Make an alias.

    Example: `posthorn alias create team@example.org alice@example.org bob@example.org`
    """
    session.output.item(session.api.create_alias({"address": address, "targets": targets}), ALIAS_COLUMNS)


@command(aliases, "set")
def set_alias(session: Session, address: Alias, targets: Targets) -> None:
    """Set all targets of an alias anew.

    Example: `posthorn alias set team@example.org carol@example.org`
    """
    session.api.get_alias(address)
    _set_targets(session, address, targets)


@command(aliases, "confirm")
def confirm_target(
    session: Session, token: Annotated[str, typer.Argument(help="The token that the target has got by mail.")]
) -> None:
    """Have an alias forward to an address elsewhere that has given you its token.

    Example: `posthorn alias confirm 0198c1d2c3b47a519e2f8d7c6b5a4938.Zm9yd2FyZHM`
    """
    session.output.item(session.api.confirm_forward({"token": token}), ALIAS_COLUMNS)


@command(aliases, "add")
def add_targets(session: Session, address: Alias, targets: Targets) -> None:
    """Add targets to an alias.

    Example: `posthorn alias add team@example.org carol@example.org`
    """
    found: AliasView = session.api.get_alias(address)
    _set_targets(session, address, list(dict.fromkeys([*found["targets"], *targets])))


@command(aliases, "remove")
def remove_targets(session: Session, address: Alias, targets: Targets) -> None:
    """Take targets off an alias.

    Example: `posthorn alias remove team@example.org bob@example.org`
    """
    found = session.api.get_alias(address)
    unknown = [target for target in targets if target not in found["targets"]]
    if unknown:
        raise CommandError(f"{address} does not lead to {', '.join(unknown)}")
    left = [target for target in found["targets"] if target not in targets]
    if not left:
        raise usage("an alias leads somewhere: to have none, `posthorn alias delete`")
    _set_targets(session, address, left)


def _set_targets(session: Session, address: str, targets: list[str]) -> None:
    """Against the version that was read: what another has added meanwhile is not lost."""
    changed = session.api.change_alias(address, {"targets": targets}, if_match=session.api.etag)
    session.output.item(changed, ALIAS_COLUMNS)


@command(aliases, "delete")
def delete_alias(session: Session, address: Alias, *, yes: Yes = False) -> None:
    """Delete an alias.

    Example: `posthorn alias delete team@example.org`
    """
    found = session.api.get_alias(address)
    etag = session.api.etag
    session.ask(f"Delete the alias {found['address']}?", yes)
    session.api.delete_alias(address, if_match=etag)
    deleted(session, "alias", found["address"])
