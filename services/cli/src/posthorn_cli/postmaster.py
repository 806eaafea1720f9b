"""Whether anybody reads the mail for a domain's postmaster (RFC 5321 section 4.5.1)."""

from __future__ import annotations

from posthorn_cli.client.types import DomainView


def without_postmaster(domain: DomainView) -> str:
    """Return a warning about mail to a domain's postmaster that is refused; empty when somebody
    takes it."""
    # a server of an earlier release does not say
    if domain.get("postmaster", "unknown") is not None:
        return ""
    return (
        f"nobody takes the mail for postmaster@{domain['name']}, and it is refused: make the first account of the domain, an alias"
        " of that name, or set POSTHORN_SMTP_POSTMASTER"
    )
