"""What holders of accounts decide for themselves, beyond what other services do for them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from posthorn.model.client_settings import client_servers
from posthorn.model.dns_records import Presence
from posthorn.ports.api_keys import ApiKey
from posthorn.ports.errors import Conflict, FieldError, NotFound, ValidationFailed
from posthorn.ports.quarantine import QuarantinedCopy
from posthorn.ports.vacations import Vacation, Vacations
from posthorn_api.auth.account_logins import AccountLogins
from posthorn_api.directory.service import DirectoryService
from posthorn_api.dns.apple_profile import apple_profile
from posthorn_api.http.problems import Problem
from posthorn_api.login.service import LoginService, SignedIn
from posthorn_api.me.set_up import thunderbird_payload
from posthorn_api.quarantine.service import QuarantineService


class MeService:
    """Every method takes the account that calls. Raises ValidationFailed and NotFound for its
    faults, Unavailable for ours."""

    def __init__(
        self,
        directory: DirectoryService,
        accounts: AccountLogins,
        logins: LoginService,
        quarantine: QuarantineService,
        vacations: Vacations,
        presence: Presence,
    ) -> None:
        self.presence = presence
        self._directory = directory
        self._accounts = accounts
        self._logins = logins
        self._quarantine = quarantine
        self._vacations = vacations

    async def change_password(
        self, caller: ApiKey, current: str, new: str, client: str, *, has_session: bool
    ) -> SignedIn | None:
        """Set the password, which ends all sessions; return a new one for a caller that has one.
        A wrong current password counts as a failed login. Raises ValidationFailed
        (``current_password``)."""
        address = address_of(caller)
        try:
            await self._accounts.verify(address, current, client)
        except Problem as problem:
            if problem.status == 401:
                fault = FieldError("current_password", "this is not the password")
                raise ValidationFailed(fault) from None
            raise
        await self._directory.change_account(caller, address, {"password": new})
        if not has_session:
            return None
        return await self._logins.by_password(address, new, client)

    def apple_profile(self, caller: ApiKey) -> bytes:
        """Return the profile that sets up Mail on iOS and macOS. Raises NotFound."""
        address = address_of(caller)
        domain = address.rpartition("@")[2]
        profile = apple_profile(domain, address, client_servers(self.presence))
        if profile is None:
            raise NotFound("mail cannot be both read and sent by clients here")
        return profile

    def payload(self, caller: ApiKey, display_name: str, password: str) -> str:
        """Return the content of the QR code. Raises ValidationFailed."""
        found = thunderbird_payload(
            address_of(caller), display_name, password, client_servers(self.presence)
        )
        if found is None:
            text = "a code for this account and these servers would be too long"
            raise ValidationFailed(FieldError("display_name", text))
        return found

    async def release(self, caller: ApiKey, number: UUID) -> QuarantinedCopy:
        """Release a copy of the account's own. Raises NotFound, Conflict."""
        copy = await self._quarantine.item(caller, number)
        if (copy.account or copy.recipient) != caller.account:
            raise NotFound("not found")
        if copy.reason == "virus":
            raise Conflict("a message with a virus is released by an administrator only")
        return await self._quarantine.release(caller, number, is_ham=False)

    async def vacation(self, caller: ApiKey) -> Vacation:
        """Return the automatic reply."""
        return await self._vacations.get(caller.tenant, address_of(caller))

    async def set_vacation(
        self,
        caller: ApiKey,
        *,
        enabled: bool,
        subject: str,
        text: str,
        starts_at: datetime | None,
        ends_at: datetime | None,
    ) -> Vacation:
        """Set the automatic reply. Raises ValidationFailed (``ends_at``, ``text``)."""
        if starts_at is not None and ends_at is not None and ends_at <= starts_at:
            raise ValidationFailed(FieldError("ends_at", "this is not after starts_at"))
        if "\0" in text:
            raise ValidationFailed(FieldError("text", "NUL characters are not allowed"))
        vacation = Vacation(enabled, subject, text, starts_at, ends_at)
        return await self._vacations.put(caller.tenant, address_of(caller), vacation)


def address_of(caller: ApiKey) -> str:
    """Return the account's address."""
    assert caller.account is not None  # the rules of these operations admit accounts alone
    return caller.account
