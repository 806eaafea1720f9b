"""Operations of bulk import."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request, Response
from starlette.types import Receive, Scope, Send

from posthorn_api.bulk.schemas import AccountLine, AliasLine, ImportAnswer
from posthorn_api.bulk.service import Answers, BulkImportService
from posthorn_api.http.operations import POST_ONLY, Caller, problems, router, service_of

imports = router("Bulk import")

PATHS = (
    "/v1/import/accounts",
    "/v1/import/aliases",
    "/v1/import/accounts/plan",
    "/v1/import/aliases/plan",
)
_NDJSON = "application/x-ndjson"


BulkImports = Annotated[BulkImportService, Depends(service_of(BulkImportService))]


class _Streamed(Response):
    """An answer that is written while the request is still being read, which starlette's own
    would read as well."""

    def __init__(self, answers: Answers) -> None:
        super().__init__(status_code=200, media_type=_NDJSON)
        del self.headers["content-length"]
        self._answers = answers

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it (ASGI)."""
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            async for piece in self._answers.octets():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await self._answers.close()


def _documented(shape: str, example: str) -> dict[str, Any]:
    return {
        "requestBody": {
            "required": True,
            "description": f"One {shape} in JSON per line.",
            "content": {
                _NDJSON: {"schema": {"$ref": f"#/components/schemas/{shape}"}, "example": example}
            },
        }
    }


_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One line for each line of the request.",
        "content": {_NDJSON: {"schema": {"$ref": f"#/components/schemas/{ImportAnswer.__name__}"}}},
    },
    **problems(413, 415, 429),
}


_ACCOUNTS = _documented(
    AccountLine.__name__, '{"address": "carol@example.test", "password": "correct horse"}\n'
)
_ALIASES = _documented(
    AliasLine.__name__, '{"address": "team@example.test", "targets": ["alice@example.test"]}\n'
)


@imports.post(
    PATHS[0],
    operation_id="importAccounts",
    summary="Import accounts.",
    response_class=Response,
    responses=_ANSWERS,
    dependencies=POST_ONLY,
    openapi_extra=_ACCOUNTS,
)
async def import_accounts(request: Request, caller: Caller, service: BulkImports) -> Response:
    """One JSON object per line in the request and in the answer, any number of lines. An account
    that already exists with the same values is `unchanged`; one with other values fails, and nothing of
    it is changed. `managed_by` then names the tool that manages it. The import is idempotent, with or
    without an `Idempotency-Key`: if it ends early, repeat it as a whole.
    """
    return _Streamed(await service.accounts(caller, request.state.pieces))


@imports.post(
    PATHS[1],
    operation_id="importAliases",
    summary="Import aliases.",
    response_class=Response,
    responses=_ANSWERS,
    dependencies=POST_ONLY,
    openapi_extra=_ALIASES,
)
async def import_aliases(request: Request, caller: Caller, service: BulkImports) -> Response:
    """As for accounts. A line may refer to an alias of an earlier line."""
    return _Streamed(await service.aliases(caller, request.state.pieces))


@imports.post(
    PATHS[2],
    operation_id="planAccountImport",
    summary="Check an import of accounts.",
    response_class=Response,
    responses=_ANSWERS,
    dependencies=POST_ONLY,
    openapi_extra=_ACCOUNTS,
)
async def plan_account_import(request: Request, caller: Caller, service: BulkImports) -> Response:
    """Answers as the import would, and creates nothing: `created` is what it would create. Limits
    are judged for 500 lines at a time.
    """
    return _Streamed(await service.accounts(caller, request.state.pieces, is_plan=True))


@imports.post(
    PATHS[3],
    operation_id="planAliasImport",
    summary="Check an import of aliases.",
    response_class=Response,
    responses=_ANSWERS,
    dependencies=POST_ONLY,
    openapi_extra=_ALIASES,
)
async def plan_alias_import(request: Request, caller: Caller, service: BulkImports) -> Response:
    """As for accounts. A line may refer to an alias of an earlier line among the same 500."""
    return _Streamed(await service.aliases(caller, request.state.pieces, is_plan=True))
