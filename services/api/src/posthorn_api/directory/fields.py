"""Reading what a request's fields name: addresses, domains, networks and passwords."""

from __future__ import annotations

from collections.abc import Sequence

from posthorn.model.networks import parse_network
from posthorn.ports.errors import FieldError, ValidationFailed
from posthorn.wire.address import (
    MAX_PATH_OCTETS,
    AddressError,
    canonical_domain,
    display_domain,
    parse_address,
)
from posthorn.wire.foreign_address import ForeignAddress, foreign_domain, parse_foreign


def domain_in(field: str, text: str) -> str:
    """Return the canonical form of the domain in a field. Raises ValidationFailed."""
    try:
        name = canonical_domain(text)
        display_domain(name).encode()
    except (AddressError, UnicodeEncodeError) as error:
        text = str(error) if isinstance(error, AddressError) else "the domain holds broken Unicode"
        raise ValidationFailed(FieldError(field, text)) from None
    return name


def new_domain_in(field: str, text: str) -> str:
    """Return the canonical form of the name of a domain to be created. Raises ValidationFailed."""
    name = domain_in(field, text)
    if name.startswith("["):
        raise ValidationFailed(
            FieldError(field, "a domain must be a name, not the address of a host")
        )
    return name


def foreign_domain_in(field: str, text: str) -> str:
    """Return the canonical form of a domain that may be elsewhere. Raises ValidationFailed."""
    try:
        return foreign_domain(text)
    except AddressError:
        return domain_in(field, text)


def address_in(field: str, text: str) -> str:
    """Return the canonical form of the address in a field. Raises ValidationFailed."""
    try:
        address = str(parse_address(text))
    except AddressError as error:
        raise ValidationFailed(FieldError(field, str(error))) from None
    if len(address.encode()) > MAX_PATH_OCTETS:
        raise ValidationFailed(
            FieldError(field, f"the address is longer than {MAX_PATH_OCTETS} bytes")
        )
    domain_in(field, address.rpartition("@")[2])
    return address


def foreign_in(field: str, text: str) -> str:
    """Return the canonical form of an address that may be elsewhere, where others' rules hold.
    Raises ValidationFailed."""
    try:
        address = parse_foreign(text)
    except AddressError as error:
        raise ValidationFailed(FieldError(field, str(error))) from None
    return str(address) if isinstance(address, ForeignAddress) else address_in(field, text)


def targets_in(targets: Sequence[str]) -> list[str]:
    """Return the canonical forms of an alias's targets. Raises ValidationFailed."""
    found: list[str] = []
    faults: list[FieldError] = []
    for number, target in enumerate(targets):
        try:
            found.append(foreign_in(f"targets[{number}]", target))
        except ValidationFailed as unfit:
            faults.extend(unfit.faults)
        else:
            if found[-1] in found[:-1]:
                faults.append(FieldError(f"targets[{number}]", f"{found[-1]} is given twice"))
    if faults:
        raise ValidationFailed(*faults)
    return found


def networks_in(field: str, texts: Sequence[str] | None) -> tuple[str, ...]:
    """Return CIDR networks in canonical form, each once. Raises ValidationFailed."""
    networks: list[str] = []
    faults: list[FieldError] = []
    for number, text in enumerate(texts or ()):
        try:
            networks.append(str(parse_network(text)))
        except ValueError as error:
            faults.append(FieldError(f"{field}[{number}]", str(error)))
    if faults:
        raise ValidationFailed(*faults)
    return tuple(dict.fromkeys(networks))


def password_fault(address: str, password: str, shortest: int) -> str | None:
    """Return what is wrong with a password; None when nothing is."""
    if len(password) < shortest:
        return f"the password must have at least {shortest} characters"
    folded = password.casefold()
    if folded in (address.casefold(), address.rpartition("@")[0].casefold()):
        return "the password must not be the address"
    if len(set(folded)) == 1:
        return "the password must not be one repeated character"
    return None
