"""`posthorn filter`."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, cast

import typer

from posthorn_cli.client import ApiError, Client
from posthorn_cli.client.types import EffectiveFilterPolicyView, FilterPolicyDocument
from posthorn_cli.faults import CommandError, usage
from posthorn_cli.output import Column
from posthorn_cli.session import Session, Yes, command, group
from posthorn_cli.values import nullable, require_change

filters = group(
    "Filter policies: how incoming mail is judged, and what happens to spam.\n\n"
    "The system, each tenant, domain and account has a policy. A field that it does not set is"
    " decided by the level above; lists of all levels add up.\n\n"
    "Example: `posthorn filter set --domain example.org --spam-action quarantine`"
)
OfAccount = Annotated[
    str | None, typer.Option("--account", metavar="ADDRESS", help="The policy of an account.")
]
OfDomain = Annotated[
    str | None, typer.Option("--domain", metavar="NAME", help="The policy of a domain.")
]
OfTenant = Annotated[
    str | None, typer.Option("--tenant", metavar="NAME", help="The policy of a tenant.")
]
OfSystem = Annotated[
    bool, typer.Option("--system", help="The policy of the system; for platform admins.")
]
Score = Annotated[
    str | None, typer.Option(metavar="POINTS|none", help="Points; none: as the level above says.")
]
Entries = Annotated[
    list[str],
    typer.Argument(
        metavar="ENTRY…",
        help="An address, a domain with its subdomains, or a network such as 192.0.2.0/24.",
    ),
]
Remove = Annotated[bool, typer.Option("--remove", help="Take the entries off the list.")]
ORIGINS = [Column("field"), Column("value", prose=True), Column("source")]

_TRIES = 5
_SWITCHES = {"on": True, "off": False}


@dataclass(frozen=True, slots=True)
class Policy:
    """The operations on one policy."""

    name: str
    get: Callable[[], FilterPolicyDocument]
    put: Callable[..., FilterPolicyDocument]
    unset: Callable[..., None]

    def changed(
        self, api: Client, change: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> FilterPolicyDocument:
        """Change the policy as it is; again, if somebody else changes it meanwhile."""
        for left in reversed(range(_TRIES)):
            document = change(dict(self.get()))
            try:
                return self.put(cast("FilterPolicyDocument", document), if_match=api.etag)
            except ApiError as error:
                if error.status != 412 or not left:
                    raise
        raise AssertionError("the last try answers or raises")


def _policy_of(
    session: Session, account: str | None, domain: str | None, tenant: str | None, system: bool
) -> Policy:
    if [account, domain, tenant, system or None].count(None) != 3:
        raise usage("say whose policy: --account, --domain, --tenant or --system")
    api = session.api
    if system:
        return Policy(
            "the system",
            api.get_system_filter_policy,
            api.set_system_filter_policy,
            api.unset_system_filter_policy,
        )
    if account is not None:
        return Policy(
            account,
            partial(api.get_account_filter_policy, account),
            partial(api.set_account_filter_policy, account),
            partial(api.unset_account_filter_policy, account),
        )
    if domain is not None:
        return Policy(
            domain,
            partial(api.get_domain_filter_policy, domain),
            partial(api.set_domain_filter_policy, domain),
            partial(api.unset_domain_filter_policy, domain),
        )
    assert tenant is not None
    return Policy(
        tenant,
        partial(api.get_tenant_filter_policy, tenant),
        partial(api.set_tenant_filter_policy, tenant),
        partial(api.unset_tenant_filter_policy, tenant),
    )


@command(filters, "show")
def show_policy(
    session: Session,
    *,
    account: OfAccount = None,
    domain: OfDomain = None,
    tenant: OfTenant = None,
    system: OfSystem = False,
) -> None:
    """Show what one policy sets itself; the levels above decide the rest.

    Example: `posthorn filter show --domain example.org`
    """
    session.output.item(_policy_of(session, account, domain, tenant, system).get())


@command(filters, "effective")
def show_effective(session: Session, *, account: OfAccount = None, domain: OfDomain = None) -> None:
    """Show the policy that holds for an account or a domain, and which level decides each field.

    Example: `posthorn filter effective --account carol@example.org`
    """
    found: EffectiveFilterPolicyView
    if account is not None and domain is None:
        found = session.api.get_effective_account_filter_policy(account)
    elif domain is not None and account is None:
        found = session.api.get_effective_domain_filter_policy(domain)
    else:
        raise usage("say whose policy: --account or --domain")
    if session.output.as_json:
        session.output.json(found)
    else:
        session.output.items(found["origins"], ORIGINS)


@command(filters, "set")
def set_policy(
    session: Session,
    *,
    account: OfAccount = None,
    domain: OfDomain = None,
    tenant: OfTenant = None,
    system: OfSystem = False,
    junk_score: Score = None,
    refuse_score: Score = None,
    spam_action: Annotated[
        str | None,
        typer.Option(
            metavar="mark|junk|quarantine|none",
            help="For messages from the junk score: mark in the header, file in Junk, or withhold.",
        ),
    ] = None,
    virus_action: Annotated[
        str | None,
        typer.Option(metavar="refuse|quarantine|none", help="For messages with a virus."),
    ] = None,
    enforce_dmarc: Annotated[
        str | None,
        typer.Option(metavar="on|off|none", help="Apply the DMARC policy of the sender's domain."),
    ] = None,
    refuse_listed: Annotated[
        str | None,
        typer.Option(metavar="on|off|none", help="Refuse clients that a blocklist holds."),
    ] = None,
    greylist: Annotated[
        str | None,
        typer.Option(metavar="on|off|none", help="Ask suspicious unknown clients to come again."),
    ] = None,
    protect_known: Annotated[
        str | None,
        typer.Option(
            metavar="on|off|none",
            help="Deliver authenticated correspondents to INBOX whatever their points.",
        ),
    ] = None,
    rspamd: Annotated[
        str | None, typer.Option(metavar="on|off|none", help="Use rspamd, where it is installed.")
    ] = None,
    clamav: Annotated[
        str | None, typer.Option(metavar="on|off|none", help="Use ClamAV, where it is installed.")
    ] = None,
    digest: Annotated[
        str | None,
        typer.Option(metavar="on|off|none", help="Send a daily digest of Junk and quarantine."),
    ] = None,
) -> None:
    """Change the fields that are named; the rest stays. `none`: the level above decides.

    Example: `posthorn filter set --account carol@example.org --junk-score 4 --digest on`
    """
    policy = _policy_of(session, account, domain, tenant, system)
    body = (
        nullable("junk_score", junk_score, _points)
        | nullable("refuse_score", refuse_score, _points)
        | nullable("spam_action", spam_action)
        | nullable("virus_action", virus_action)
        | nullable("enforce_dmarc", enforce_dmarc, _switch)
        | nullable("refuse_listed", refuse_listed, _switch)
        | nullable("greylist", greylist, _switch)
        | nullable("protect_known", protect_known, _switch)
        | nullable("rspamd", rspamd, _switch)
        | nullable("clamav", clamav, _switch)
        | nullable("digest", digest, _switch)
    )
    require_change(body)
    session.output.item(policy.changed(session.api, lambda present: present | body))


@command(filters, "unset")
def unset_policy(
    session: Session,
    fields: Annotated[
        list[str] | None,
        typer.Argument(metavar="FIELD…", help="Fields such as junk-score; without: all."),
    ] = None,
    *,
    account: OfAccount = None,
    domain: OfDomain = None,
    tenant: OfTenant = None,
    system: OfSystem = False,
    yes: Yes = False,
) -> None:
    """Have the level above decide some fields, or all of them.

    Example: `posthorn filter unset junk-score --domain example.org`
    """
    policy = _policy_of(session, account, domain, tenant, system)
    if not fields:
        policy.get()
        etag = session.api.etag
        session.ask(f"Unset the whole filter policy of {policy.name}?", yes)
        policy.unset(if_match=etag)
        session.output.deleted("filter policy of", policy.name)
        return
    names = [each.replace("-", "_") for each in fields]

    def without(present: dict[str, Any]) -> dict[str, Any]:
        if unknown := [name for name in names if name not in present]:
            raise usage(f"there is no field {unknown[0]}; there are {', '.join(present)}")
        return present | dict.fromkeys(names)

    session.output.item(policy.changed(session.api, without))


@command(filters, "allow")
def allow(
    session: Session,
    entries: Entries,
    *,
    account: OfAccount = None,
    domain: OfDomain = None,
    tenant: OfTenant = None,
    system: OfSystem = False,
    remove: Remove = False,
) -> None:
    """Let senders through the filter: all but viruses is delivered to INBOX.

    An address or a domain counts only where SPF or DKIM shows that the sender is who it claims to
    be; a network always does.

    Example: `posthorn filter allow dave@example.net --account carol@example.org`
    """
    policy = _policy_of(session, account, domain, tenant, system)
    _edit(session, policy, "allow", entries, remove)


@command(filters, "block")
def block(
    session: Session,
    entries: Entries,
    *,
    account: OfAccount = None,
    domain: OfDomain = None,
    tenant: OfTenant = None,
    system: OfSystem = False,
    remove: Remove = False,
) -> None:
    """Refuse senders. An entry of an allow list, on any level, has precedence.

    Example: `posthorn filter block spam.example 192.0.2.0/24 --domain example.org`
    """
    policy = _policy_of(session, account, domain, tenant, system)
    _edit(session, policy, "block", entries, remove)


@command(filters, "forwarder")
def forwarder(
    session: Session,
    entries: Annotated[
        list[str], typer.Argument(metavar="DOMAIN…", help="Domains of the forwarding hosts.")
    ],
    *,
    account: OfAccount = None,
    domain: OfDomain = None,
    tenant: OfTenant = None,
    system: OfSystem = False,
    remove: Remove = False,
) -> None:
    """Name domains that forward mail to here, so that a failed DMARC check refuses none of it.

    Example: `posthorn filter forwarder old-provider.example --account carol@example.org`
    """
    policy = _policy_of(session, account, domain, tenant, system)
    _edit(session, policy, "forwarders", entries, remove)


def _edit(session: Session, policy: Policy, field: str, entries: list[str], remove: bool) -> None:
    def edited(present: dict[str, Any]) -> dict[str, Any]:
        listed: list[str] = present[field] or []
        if not remove:
            return present | {field: [*listed, *entries]}
        gone = {_canonical(each) for each in entries}
        if missing := sorted(gone - set(listed)):
            raise CommandError(f"{missing[0]} is not on the list of {policy.name}")
        return present | {field: [each for each in listed if each not in gone] or None}

    changed = cast("dict[str, Any]", policy.changed(session.api, edited))
    session.output.item({field: changed[field] or []})


def _canonical(entry: str) -> str:
    text = entry.strip().lower().rstrip(".")
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        return text


def _points(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise usage(f"{text!r} is no number of points") from None


def _switch(text: str) -> bool:
    try:
        return _SWITCHES[text.strip().lower()]
    except KeyError:
        raise usage(f"{text!r} is neither on nor off, nor none") from None
