"""Forwards of account holders, as they set them for themselves."""

from __future__ import annotations

from collections.abc import Sequence

from posthorn.ports.api_keys import ApiKey
from posthorn.ports.own_forwards import OwnForward, OwnForwards
from posthorn_api.directory.fields import targets_in
from posthorn_api.me.service import address_of


class OwnForwardService:
    """Every method takes the account that calls. Raises ValidationFailed and Conflict for its
    faults, Unavailable for ours."""

    def __init__(self, forwards: OwnForwards) -> None:
        self._forwards = forwards

    async def get(self, caller: ApiKey) -> OwnForward:
        """Return where the account's mail is forwarded to."""
        return await self._forwards.get(caller.tenant, address_of(caller))

    async def put(self, caller: ApiKey, targets: Sequence[str], *, keeps_copy: bool) -> OwnForward:
        """Forward the account's mail to these addresses."""
        change = await self._forwards.put(
            caller.tenant, address_of(caller), targets_in(targets), keeps_copy=keeps_copy
        )
        return change.value

    async def delete(self, caller: ApiKey) -> None:
        """Forward the account's mail no more."""
        await self._forwards.delete(caller.tenant, address_of(caller))
