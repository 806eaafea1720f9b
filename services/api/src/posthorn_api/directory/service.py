"""What is decided of domains, accounts and aliases: canonical names, passwords, what may be asked
for, and when an answer is due."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_network
from uuid import UUID

from posthorn.ports.accounts import Account, AccountState, NewAccount
from posthorn.ports.administration import Administration
from posthorn.ports.aliases import Alias
from posthorn.ports.api_keys import ApiKey
from posthorn.ports.changes import Change, Versions
from posthorn.ports.domains import Domain, NewDomain
from posthorn.ports.errors import FieldError, NotFound, ValidationFailed
from posthorn.ports.idempotency import Receipt
from posthorn.ports.listing import Listed, ListQuery
from posthorn.ports.sending import Limits
from posthorn.ports.signing import DkimKey
from posthorn.runtime.passwords import Passwords
from posthorn_api.directory.fields import (
    address_in,
    domain_in,
    networks_in,
    new_domain_in,
    password_fault,
    targets_in,
)
from posthorn_api.directory.publication import Publication, settled
from posthorn_api.pending import Pending


class DirectoryService:
    """Decisions on the directory. Every method takes the caller's key and sees what its tenant sees.

    Raises ValidationFailed, NotFound and Conflict for the caller's faults, Unavailable and
    passwords.Busy for ours.
    """

    def __init__(
        self,
        administration: Administration,
        passwords: Passwords,
        publication: Pending[Publication],
        *,
        wait_seconds: float = 2.0,
        account_limits: Limits = Limits(),  # noqa: B008 - it is frozen
    ) -> None:
        """``account_limits`` are the operator's for each account, which a tenant's key may lower
        and not lift."""
        self._administration = administration
        self._passwords = passwords
        self._publication = publication
        self._wait_seconds = wait_seconds
        self._account_limits = account_limits

    async def create_domain(
        self, caller: ApiKey, new: NewDomain, receipt: Receipt[Domain] | None
    ) -> Domain:
        """Create a domain."""
        catch_all = None if new.catch_all is None else address_in("catch_all", new.catch_all)
        made = replace(new, name=new_domain_in("name", new.name), catch_all=catch_all)
        return await self._shown(
            await self._administration.create_domain(caller.tenant, made, receipt)
        )

    async def domains(
        self, caller: ApiKey, asked: ListQuery, dns: str | None = None
    ) -> Listed[Domain]:
        """List domains; with ``dns``, those with this state of their DNS records."""
        return await self._administration.domains(caller.tenant, asked, dns)

    async def domain(self, caller: ApiKey, name: str) -> Domain:
        """Return one."""
        name = domain_in("name", name)
        with _missing(f"there is no domain {name}"):
            return await self._administration.domain(caller.tenant, name)

    async def change_domain(
        self, caller: ApiKey, name: str, changes: Mapping[str, object], expected: Versions = None
    ) -> Domain:
        """Set the fields that ``changes`` names."""
        name = domain_in("name", name)
        values = _with_networks(changes)
        if values.get("catch_all") is not None:
            values["catch_all"] = address_in("catch_all", str(values["catch_all"]))
        with _missing(f"there is no domain {name}"):
            return await self._shown(
                await self._administration.change_domain(caller.tenant, name, values, expected)
            )

    async def verify_domain(self, caller: ApiKey, name: str) -> Domain:
        """Have a domain take mail whose ownership has been shown."""
        name = domain_in("name", name)
        with _missing(f"there is no domain {name}"):
            return await self._shown(await self._administration.verify_domain(caller.tenant, name))

    async def claimable(self, tenant: UUID, name: str) -> str:
        """Return the canonical name of a domain that another tenant has named without showing
        that it owns it. Raises NotFound."""
        name = domain_in("name", name)
        with _missing(f"there is no domain {name}"):
            await self._administration.claimable(tenant, name)
        return name

    async def claim_domain(self, tenant: UUID, name: str, dkim_keys: Sequence[DkimKey]) -> Domain:
        """Assign such a domain to the tenant, which has shown that it owns it, with new keys."""
        with _missing(f"there is no domain {name}"):
            return await self._shown(
                await self._administration.claim_domain(tenant, name, dkim_keys)
            )

    async def delete_domain(self, caller: ApiKey, name: str, expected: Versions = None) -> None:
        """Remove an empty domain."""
        name = domain_in("name", name)
        with _missing(f"there is no domain {name}"):
            await self._shown(
                await self._administration.delete_domain(caller.tenant, name, expected)
            )

    async def create_account(
        self,
        caller: ApiKey,
        address: str,
        password: str | None,
        quota_bytes: int | None,
        receipt: Receipt[Account] | None,
        password_hash: str | None = None,
    ) -> Account:
        """Create an account, with a password or with the hash of one."""
        canonical = address_in("address", address)
        if password is not None and password_hash is None:
            await self._check_password(caller, canonical, password)
            stored = await self._passwords.hash(password)
        else:
            stored = self.hash_in(password, password_hash)
        new = NewAccount(canonical, stored, quota_bytes)
        return await self._shown(
            await self._administration.create_account(caller.tenant, new, receipt)
        )

    async def create_account_hashed(
        self,
        caller: ApiKey,
        address: str,
        password_hash: str,
        quota_bytes: int | None,
        state: AccountState,
    ) -> Account:
        """Create an account of which only the hash of the password is known."""
        stored = self.hash_in(None, password_hash)
        new = NewAccount(address_in("address", address), stored, quota_bytes, state)
        return await self._shown(await self._administration.create_account(caller.tenant, new))

    def hash_in(self, password: object, password_hash: object) -> str:
        """Return the form to store of a hash that is given in place of a password. Raises
        ValidationFailed."""
        if password is not None and password_hash is not None:
            raise ValidationFailed(FieldError("password_hash", "either this or a password"))
        if not isinstance(password_hash, str):
            raise ValidationFailed(FieldError("password", "this or password_hash is needed"))
        try:
            return self._passwords.accepted(password_hash)
        except ValueError as error:
            raise ValidationFailed(FieldError("password_hash", str(error))) from None

    async def hash_password(self, password: str) -> str:
        """Return the form in which a password is stored. Raises passwords.Busy."""
        return await self._passwords.hash(password)

    async def _check_password(self, caller: ApiKey, address: str, password: str) -> None:
        """Raise ValidationFailed for a password that the tenant's policy refuses."""
        try:
            domain = await self._administration.domain(caller.tenant, address.rpartition("@")[2])
        except NotFound:
            return  # what is wrong then is the address, and is said with the change
        if fault := password_fault(address, password, domain.min_password_length):
            raise ValidationFailed(FieldError("password", fault))

    async def accounts(
        self, caller: ApiKey, asked: ListQuery, domain: str | None = None
    ) -> Listed[Account]:
        """List accounts, of one domain or of all."""
        name = None if domain is None else domain_in("domain", domain)
        return await self._administration.accounts(caller.tenant, asked, name)

    async def account(self, caller: ApiKey, address: str) -> Account:
        """Return one."""
        address = address_in("address", address)
        with _missing(f"there is no account {address}"):
            return await self._administration.account(caller.tenant, address)

    async def change_account(
        self, caller: ApiKey, address: str, changes: Mapping[str, object], expected: Versions = None
    ) -> Account:
        """Set ``password`` or ``password_hash``, ``quota_bytes``, ``state``, ``save_sent``,
        ``hidden_imap_capabilities`` or the rules of sending."""
        address = address_in("address", address)
        self._check_limits(caller, changes)
        values = _with_networks(changes)
        if "password_hash" in values:
            values["password_hash"] = self.hash_in(values.get("password"), values["password_hash"])
        elif "password" in values:
            await self._check_password(caller, address, str(values["password"]))
            values["password_hash"] = await self._passwords.hash(str(values.pop("password")))
        if "state" in values:
            values["state"] = AccountState(values["state"])
        if "hidden_imap_capabilities" in values:
            values["imap_hidden"] = values.pop("hidden_imap_capabilities")
        with _missing(f"there is no account {address}"):
            return await self._shown(
                await self._administration.change_account(caller.tenant, address, values, expected)
            )

    def _check_limits(self, caller: ApiKey, changes: Mapping[str, object]) -> None:
        """Raise ValidationFailed when a tenant's key lifts what the operator lets each account
        send."""
        if caller.tenant is None:
            return
        general = self._account_limits
        for name, most in (
            ("max_messages_per_hour", general.messages_per_hour),
            ("max_recipients_per_hour", general.recipients_per_hour),
        ):
            wanted = changes.get(name)
            if most is not None and isinstance(wanted, int) and wanted > most:
                raise ValidationFailed(
                    FieldError(name, f"at most {most}; only a key of the platform may allow more")
                )

    async def delete_account(self, caller: ApiKey, address: str, expected: Versions = None) -> None:
        """Remove an account with its mail."""
        address = address_in("address", address)
        with _missing(f"there is no account {address}"):
            await self._shown(
                await self._administration.delete_account(caller.tenant, address, expected)
            )

    async def create_alias(
        self, caller: ApiKey, address: str, targets: Sequence[str], receipt: Receipt[Alias] | None
    ) -> Alias:
        """Create an alias."""
        canonical = address_in("address", address)
        change = await self._administration.create_alias(
            caller.tenant, canonical, targets_in(targets), receipt
        )
        return await self._shown(change)

    async def aliases(
        self,
        caller: ApiKey,
        asked: ListQuery,
        domain: str | None = None,
        target: str | None = None,
    ) -> Listed[Alias]:
        """List aliases, of one domain or of all, with any or with one target."""
        name = None if domain is None else domain_in("domain", domain)
        address = None if target is None else address_in("target", target)
        return await self._administration.aliases(caller.tenant, asked, name, address)

    async def alias(self, caller: ApiKey, address: str) -> Alias:
        """Return one."""
        address = address_in("address", address)
        with _missing(f"there is no alias {address}"):
            return await self._administration.alias(caller.tenant, address)

    async def change_alias(
        self, caller: ApiKey, address: str, targets: Sequence[str], expected: Versions = None
    ) -> Alias:
        """Set the targets."""
        address = address_in("address", address)
        with _missing(f"there is no alias {address}"):
            change = await self._administration.change_alias(
                caller.tenant, address, targets_in(targets), expected
            )
            return await self._shown(change)

    async def delete_alias(self, caller: ApiKey, address: str, expected: Versions = None) -> None:
        """Remove an alias."""
        address = address_in("address", address)
        with _missing(f"there is no alias {address}"):
            await self._shown(
                await self._administration.delete_alias(caller.tenant, address, expected)
            )

    async def _shown[T](self, change: Change[T]) -> T:
        return await settled(self._publication, change, self._wait_seconds)


@contextmanager
def _missing(text: str) -> Iterator[None]:
    """Say in an empty NotFound what is missing."""
    try:
        yield
    except NotFound as error:
        if error.args:
            raise
        raise NotFound(text) from None


def _with_networks(changes: Mapping[str, object]) -> dict[str, object]:
    """Return the changes with their networks read."""
    values = dict(changes)
    texts = values.get("allowed_networks")
    if isinstance(texts, list):
        values["allowed_networks"] = [
            ip_network(each) for each in networks_in("allowed_networks", texts)
        ]
    return values
