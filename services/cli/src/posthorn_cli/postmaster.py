"""Whether anybody reads the mail for a domain's postmaster (RFC 5321 section 4.5.1)."""

from __future__ import annotations

from posthorn_cli.client import ApiError
from posthorn_cli.session import Session

_NOT_FOUND = 404


def without_postmaster(session: Session, domain: str) -> str:
    """Return what is missing for mail to a domain's postmaster; empty when nothing is. Raises ApiError and Unreachable."""
    if session.api.get_domain(domain)["catch_all"]:
        return ""
    address = f"postmaster@{domain}"
    for get in (session.api.get_alias, session.api.get_account):
        try:
            get(address)
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
        else:
            return ""
    return (
        f"nobody has the address {address} and there is no catch-all: such mail goes to the address of POSTHORN_SMTP_POSTMASTER,"
        " or is refused when none is set; make an alias"
    )
