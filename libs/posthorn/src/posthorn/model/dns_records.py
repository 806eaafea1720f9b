"""The DNS records that a local domain should publish, to receive mail and to authenticate its own.

Rules:

- Names and values are as ``ports.resolver.Records`` returns them: canonical (A-labels, lower case),
  without a final dot. A TXT value is one string here; ``zone_text`` splits it into strings of 255
  bytes.
- DMARC begins with ``p=none``: mail that a domain sends from elsewhere should be seen in reports
  before any is rejected.
- A service that is not offered has the target ``.`` (RFC 6186 §3.4).
- Reverse names belong to the owner of the addresses, not to the domain; they are included as a
  hint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import quote
from uuid import UUID

from posthorn.model.spf_record import merged
from posthorn.wire.auth.dkim import record_name, record_strings, record_value
from posthorn.wire.mta_sts import Mode, Policy, policy_text

CHALLENGE_LABEL = "_posthorn-challenge"
"""Where the ownership of a domain is shown."""
CHALLENGE_PREFIX = "posthorn-verification="

_HOUR = 3600
_WEEK = 604_800
_DAY = 86_400
_LONGEST_NAME = 253


class Purpose(Enum):
    """Purpose of a record."""

    OWNERSHIP = "ownership"
    MX = "mx"
    SPF = "spf"
    DKIM = "dkim"
    DMARC = "dmarc"
    MTA_STS = "mta-sts"
    MTA_STS_HOST = "mta-sts-host"
    TLS_RPT = "tls-rpt"
    AUTOCONFIG = "autoconfig"
    AUTODISCOVER = "autodiscover"
    SERVICE = "service"
    PTR = "ptr"


class Need(Enum):
    """Importance of a record."""

    REQUIRED = "required"
    """Without it mail does not arrive, or is not trusted."""
    RECOMMENDED = "recommended"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service is offered."""

    host: str
    port: int
    """0: not offered."""


@dataclass(frozen=True, slots=True)
class Presence:
    """The public names and addresses of this mail system."""

    mx: tuple[str, ...]
    """Hosts that accept mail, the preferred one first; at least one."""
    web: str
    """The host that serves MTA-STS policies and the settings of mail clients over HTTPS."""
    submission: Endpoint
    submissions: Endpoint
    imap: Endpoint
    imaps: Endpoint
    pop3: Endpoint
    pop3s: Endpoint
    outgoing: tuple[str, ...] = ()
    """Addresses or networks that mail is sent from."""
    outgoing_name: str = "localhost"
    """The name in EHLO."""
    spf_include: str | None = None
    """A domain whose SPF record names those addresses."""
    reports: str | None = None
    """Where reports of DMARC and TLS go; None: to the postmaster of each domain."""
    mta_sts: Mode = Mode.TESTING

    @property
    def offers_imap(self) -> bool:
        """Whether mail is read by IMAP too."""
        return bool(self.imap.port or self.imaps.port)

    @property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """``outgoing``, as networks."""
        return tuple(ip_network(text) for text in self.outgoing)

    @property
    def spf_mechanisms(self) -> tuple[str, ...]:
        """Return the SPF mechanisms that permit mail from here (RFC 7208 §5)."""
        if self.spf_include is not None:
            return (f"include:{self.spf_include}",)
        return tuple(_mechanism(network) for network in self.networks) or ("mx",)

    @property
    def policy(self) -> Policy:
        """Return the MTA-STS policy of each domain (RFC 8461 §3.2)."""
        return Policy(self.mta_sts, self.mx, _WEEK if self.mta_sts is Mode.ENFORCE else _DAY)

    @property
    def policy_id(self) -> str:
        """Return the policy's id, which changes with the policy."""
        return hashlib.sha256(policy_text(self.policy).encode(), usedforsecurity=False).hexdigest()[
            :20
        ]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The public part of a DKIM key."""

    selector: str
    algorithm: str
    public_key: bytes
    state: str
    """``pending``, ``signing`` or ``retired``."""
    published_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """The wanted records of one name and type."""

    purpose: Purpose
    name: str
    type: str
    values: tuple[str, ...]
    need: Need
    why: str
    ttl: int = _HOUR
    """Seconds; a suggestion."""
    state: str | None = None
    """Of a DKIM key."""


def records_of(
    domain: str,
    presence: Presence,
    keys: Sequence[SigningKey],
    token: str | None,
    spf: Sequence[str] = (),
) -> tuple[Record, ...]:
    """Return the records to publish. ``token``: given until ownership is verified; ``spf``: the
    domain's present SPF records, into which ours is merged."""
    return (
        *_ownership(domain, token),
        _mx(domain, presence),
        Record(
            Purpose.SPF,
            domain,
            "TXT",
            (merged(spf, presence.spf_mechanisms),),
            Need.REQUIRED,
            "SPF: says that mail of this domain may come from here (RFC 7208). A domain has one SPF record only.",
        ),
        *(_dkim(domain, key) for key in keys),
        *_reports(domain, presence),
        *_policy_records(domain, presence),
        *_client_hosts(domain, presence),
        *_services(domain, presence),
        *_reverse(presence),
    )


def zone_text(domain: str, records: Sequence[Record]) -> str:
    """Return the records as part of a zone file (RFC 1035 §5); those of other zones as comments."""
    lines = [f"; DNS records of {domain}"]
    for record in records:
        lines += ["", f"; {record.need.value}: {record.why}"]
        mark = "; " if record.purpose is Purpose.PTR else ""
        for value in record.values:
            lines.append(
                f"{mark}{record.name}. {record.ttl} IN {record.type} {_zone_value(record.type, value)}"
            )
    return "\n".join(lines) + "\n"


def _zone_value(kind: str, value: str) -> str:
    if kind == "TXT":
        return " ".join(f'"{_escaped(string)}"' for string in record_strings(value))
    *front, target = value.split(" ")
    return " ".join([*front, target if target == "." else f"{target}."])


def _escaped(string: str) -> str:
    """Escape special characters of zone files: the text may come from published records (RFC
    1035 §5.1)."""
    return "".join(
        character
        if " " <= character <= "~" and character not in '"\\'
        else "".join(f"\\{octet:03d}" for octet in character.encode())
        for character in string
    )


def _mechanism(network: IPv4Network | IPv6Network) -> str:
    is_host = network.num_addresses == 1
    return f"ip{network.version}:{network.network_address if is_host else network}"


def claim_token(tenant: UUID, domain: str) -> str:
    """Return the token by which a tenant claims a domain that another tenant has created without
    verifying ownership.

    Not a secret: whoever can publish it controls the domain's zone, and it is valid for this tenant
    only.
    """
    return hashlib.sha256(f"posthorn domain {tenant} {domain}".encode()).hexdigest()[:32]


def _ownership(domain: str, token: str | None) -> Iterator[Record]:
    if token is not None:
        why = "Shows that the domain is yours: until then it takes and sends no mail here. It may be removed afterwards."
        name = f"{CHALLENGE_LABEL}.{domain}"
        yield Record(
            Purpose.OWNERSHIP, name, "TXT", (CHALLENGE_PREFIX + token,), Need.REQUIRED, why, ttl=300
        )


def _mx(domain: str, presence: Presence) -> Record:
    values = tuple(f"{10 * number} {host}" for number, host in enumerate(presence.mx, start=1))
    return Record(
        Purpose.MX,
        domain,
        "MX",
        values,
        Need.REQUIRED,
        "Mail for the domain comes here (RFC 5321).",
    )


def _dkim(domain: str, key: SigningKey) -> Record:
    why = {
        "pending": "DKIM: this key signs soon, and must be known before (RFC 6376).",
        "signing": "DKIM: mail of the domain is signed with this key (RFC 6376).",
    }.get(
        key.state, "DKIM: this key signs no more, but mail that it has signed is still on its way."
    )
    return Record(
        Purpose.DKIM,
        record_name(domain, key.selector),
        "TXT",
        (record_value(key.algorithm, key.public_key),),
        Need.RECOMMENDED if key.state == "retired" else Need.REQUIRED,
        why,
        state=key.state,
    )


def _reports(domain: str, presence: Presence) -> Iterator[Record]:
    address = presence.reports or f"postmaster@{domain}"
    mailto = "mailto:" + quote(address, safe="@+=")
    why = (
        "DMARC: has receivers report whose mail passes as the domain's (RFC 7489). Once all of it does, say p=quarantine or"
        " p=reject."
    )
    home = address.rpartition("@")[2]
    if home != domain:
        why += f" {home} says that it takes these reports by a TXT record v=DMARC1 at {domain}._report._dmarc.{home}."
    yield Record(
        Purpose.DMARC,
        f"_dmarc.{domain}",
        "TXT",
        (f"v=DMARC1; p=none; rua={mailto}",),
        Need.RECOMMENDED,
        why,
    )
    why = "TLS reporting: has senders report when a secure connection to here fails (RFC 8460)."
    yield Record(
        Purpose.TLS_RPT,
        f"_smtp._tls.{domain}",
        "TXT",
        (f"v=TLSRPTv1; rua={mailto}",),
        Need.RECOMMENDED,
        why,
    )


def _policy_records(domain: str, presence: Presence) -> Iterator[Record]:
    if presence.mta_sts is Mode.NONE:
        return
    why = "MTA-STS: says that there is a policy; the id changes with it (RFC 8461)."
    value = f"v=STSv1; id={presence.policy_id}"
    yield Record(Purpose.MTA_STS, f"_mta-sts.{domain}", "TXT", (value,), Need.RECOMMENDED, why)
    why = "MTA-STS: leads to the policy that asks senders for secure connections; it is served over HTTPS."
    yield from _alias(Purpose.MTA_STS_HOST, f"mta-sts.{domain}", presence.web, why)


def _client_hosts(domain: str, presence: Presence) -> Iterator[Record]:
    why = "Mail clients such as Thunderbird find their settings there."
    yield from _alias(Purpose.AUTOCONFIG, f"autoconfig.{domain}", presence.web, why)
    why = "Mail clients such as Outlook look for their settings there."
    yield from _alias(Purpose.AUTODISCOVER, f"autodiscover.{domain}", presence.web, why)


def _alias(purpose: Purpose, name: str, target: str, why: str) -> Iterator[Record]:
    if name != target and len(name) <= _LONGEST_NAME:
        yield Record(purpose, name, "CNAME", (target,), Need.RECOMMENDED, why)


def _services(domain: str, presence: Presence) -> Iterator[Record]:
    offers = (
        ("submissions", presence.submissions, "sending, over TLS from the start (RFC 8314)"),
        ("submission", presence.submission, "sending, with STARTTLS (RFC 6186)"),
        ("imaps", presence.imaps, "reading by IMAP, over TLS from the start (RFC 8314)"),
        ("imap", presence.imap, "reading by IMAP, with STARTTLS (RFC 6186)"),
        ("pop3s", presence.pop3s, "reading by POP3, over TLS from the start (RFC 8314)"),
        ("pop3", presence.pop3, "reading by POP3, with STLS (RFC 6186)"),
    )
    for service, endpoint, what in offers:
        if endpoint.port:
            # both ways of reading are offered, IMAP first (RFC 6186 §3.4)
            priority = 10 if service.startswith("pop3") and presence.offers_imap else 0
            value, why = (
                f"{priority} 1 {endpoint.port} {endpoint.host}",
                f"Where mail clients find the host for {what}.",
            )
        else:
            value, why = "0 0 0 .", f"Tells mail clients that there is no {what} here (RFC 6186)."
        yield Record(
            Purpose.SERVICE, f"_{service}._tcp.{domain}", "SRV", (value,), Need.RECOMMENDED, why
        )


def _reverse(presence: Presence) -> Iterator[Record]:
    why = "Reverse name of an address that mail leaves from, set by who owns the address: many hosts take no mail from one without."
    for network in presence.networks:
        if network.num_addresses == 1:
            name = network.network_address.reverse_pointer
            yield Record(Purpose.PTR, name, "PTR", (presence.outgoing_name,), Need.RECOMMENDED, why)
