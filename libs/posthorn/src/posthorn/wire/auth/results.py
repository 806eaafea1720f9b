"""Results of sender authentication, as one check hands them to the next and the verdict keeps them.

The words are those of RFC 8601 §2.7, so that a result can be written into Authentication-Results as
it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """Result of one check (RFC 8601 §2.7)."""

    NONE = "none"
    """There was nothing to check."""
    PASS = "pass"  # noqa: S105 - a result
    FAIL = "fail"
    SOFTFAIL = "softfail"
    """SPF ``~all`` (RFC 7208 §2.6.5)."""
    NEUTRAL = "neutral"
    POLICY = "policy"
    """A DKIM signature that our rules do not accept, such as a short key."""
    TEMPERROR = "temperror"
    """A lookup failed; nothing may be concluded."""
    PERMERROR = "permerror"
    """A record or signature cannot be interpreted."""


@dataclass(frozen=True, slots=True)
class Iprev:
    """Whether the client's address has a name that leads back to it (RFC 8601 §3)."""

    outcome: Outcome = Outcome.NONE
    name: str = ""
    """The confirmed name in canonical form; empty unless the outcome is PASS."""


@dataclass(frozen=True, slots=True)
class Spf:
    """SPF of one identity (RFC 7208)."""

    outcome: Outcome
    identity: str
    """``mailfrom`` or ``helo``."""
    domain: str
    """The domain checked, in canonical form."""
    reason: str = ""
    """Why, for people: the matching term, or the error. Free of control characters."""
    explanation: str = ""
    """What the domain says about a FAIL (RFC 7208 §6.2): a stranger's text, in printable ASCII."""
    is_of_local_part: bool = False
    """Whether a term depends on the local part (§7.2), so that the result is not the domain's."""


@dataclass(frozen=True, slots=True)
class Dkim:
    """One DKIM signature (RFC 6376), in the order of the header."""

    outcome: Outcome
    domain: str
    """``d=`` in canonical form; empty if it cannot be read."""
    selector: str
    reason: str = ""
    algorithm: str = ""
    """``rsa-sha256`` or ``ed25519-sha256``, or what the signature claims."""
    key_bits: int = 0
    signature_start: str = ""
    """First eight characters of ``b=``, for ``header.b`` (RFC 6008)."""
    is_testing: bool = False
    """The key has ``t=y``: a failure must not be treated worse than no signature."""


class Policy(StrEnum):
    """What a domain's DMARC record asks for (RFC 9989)."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Dmarc:
    """DMARC of the author's domain (RFC 9989)."""

    outcome: Outcome = Outcome.NONE
    """NONE without a record, PASS, FAIL, TEMPERROR or PERMERROR."""
    domain: str = ""
    """The author's domain (From), in canonical form; empty if there is not exactly one."""
    organizational_domain: str = ""
    record_domain: str = ""
    """Domain whose record was used; empty without one."""
    published: Policy | None = None
    """The policy that applies by p, sp or np, before ``t=y``."""
    applied: Policy | None = None
    """What is to be applied: of a failed check only, one level lower with ``t=y``; NONE if the
    check did not fail."""
    is_testing: bool = False
    spf_aligned: bool = False
    dkim_aligned: bool = False
    reason: str = ""
    report_to: tuple[str, ...] = ()
    """Addresses of ``rua``, without ``mailto:``; external ones are not verified here."""
    record: str = ""
    """The record that was used, in printable ASCII (``dmarc_record.parse_dmarc``)."""


@dataclass(frozen=True, slots=True)
class Arc:
    """The Authenticated Received Chain (RFC 8617)."""

    outcome: Outcome = Outcome.NONE
    sealers: tuple[str, ...] = ()
    """``d=`` of the seals of a chain that passed, the newest first; after a TEMPERROR
    what the seals and the newest message signature say, unverified."""
    results: str = ""
    """ARC-Authentication-Results of the oldest set, without its instance; of a chain that
    passed."""
    reason: str = ""
    oldest_pass: int = 0
    """Instance of the oldest set since which the message is unchanged; 0: since the first. Of a
    chain that passed."""


@dataclass(frozen=True, slots=True)
class Authentication:
    """All results for a message."""

    iprev: Iprev = field(default_factory=Iprev)
    spf: tuple[Spf, ...] = ()
    """HELO first, then MAIL FROM; of the null reverse-path HELO only (RFC 7208 §2.4)."""
    dkim: tuple[Dkim, ...] = ()
    dmarc: Dmarc = field(default_factory=Dmarc)
    arc: Arc = field(default_factory=Arc)

    @property
    def author(self) -> str:
        """The author's domain if DMARC, or an aligned identity without a record, shows that the
        message is from it; else empty."""
        dmarc = self.dmarc
        is_shown = dmarc.outcome is Outcome.PASS or dmarc.spf_aligned or dmarc.dkim_aligned
        return dmarc.domain if is_shown else ""
