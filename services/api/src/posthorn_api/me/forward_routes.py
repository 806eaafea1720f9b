"""Operations of account holders on where their mail is forwarded to."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Response

from posthorn_api.http.operations import (
    ACCOUNT_LOGIN,
    BODY_PROBLEMS,
    Caller,
    problems,
    router,
    service_of,
)
from posthorn_api.me.forwards import OwnForwardService
from posthorn_api.me.schemas import OwnForwardDocument, OwnForwardView

own_forwards = router("Own account")

_Forwards = Annotated[OwnForwardService, Depends(service_of(OwnForwardService))]
_OWN = [ACCOUNT_LOGIN]


@own_forwards.get(
    "/v1/me/forwards",
    operation_id="getMyForwards",
    summary="Get where your mail is forwarded to.",
    responses=problems(),
    dependencies=_OWN,
)
async def get_my_forwards(caller: Caller, service: _Forwards) -> OwnForwardView:
    """Without a forward `targets` is empty. `permitted` is how many your domain permits."""
    return OwnForwardView.of(await service.get(caller))


@own_forwards.put(
    "/v1/me/forwards",
    operation_id="setMyForwards",
    summary="Replace where your mail is forwarded to.",
    responses=problems(409, *BODY_PROBLEMS),
    dependencies=_OWN,
)
async def set_my_forwards(
    body: OwnForwardDocument, caller: Caller, service: _Forwards
) -> OwnForwardView:
    """Refused with 409 (conflict) unless the domain permits it (`account_forwards`). Where addresses
    elsewhere must confirm, new ones are asked, and get nothing before they have. Spam is not
    forwarded. While no address may get the mail it is delivered here, `keep_copy` or not.
    """
    done = await service.put(caller, body.targets, keeps_copy=body.keep_copy)
    return OwnForwardView.of(done)


@own_forwards.delete(
    "/v1/me/forwards",
    operation_id="deleteMyForwards",
    summary="Delete the forwards of your mail.",
    status_code=204,
    responses=problems(404),
    dependencies=_OWN,
)
async def delete_my_forwards(caller: Caller, service: _Forwards) -> Response:
    """Your mail is delivered to your mailboxes alone."""
    await service.delete(caller)
    return Response(status_code=204)
