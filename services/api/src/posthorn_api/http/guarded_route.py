"""Routes whose operations run behind the guard."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute
from starlette.routing import compile_path

from posthorn.ports.errors import FieldError, ValidationFailed
from posthorn_api.http.guard import Guard
from posthorn_api.http.large_json import DocumentRequest
from posthorn_api.http.pagination import listing
from posthorn_api.http.permissions import rule_of
from posthorn_api.http.problems import problem_of

_MOST_NAMED, _LONGEST_NAME = 10, 100


class GuardedRoute(APIRoute):
    """A route whose operation runs behind the application's guard, and whose every failure is a
    problem document. A query parameter that the operation does not have is refused: with a filter
    that is misspelt it would list or change everything.

    FastAPI's analysis of the endpoint waits for the first request or description: at first there is
    only what it takes to find the route.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self._options = options
        self.path, self.endpoint, self.name = path, endpoint, endpoint.__name__
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)
        self.methods = set(options["methods"])
        self.operation_id = options["operation_id"]
        rule_of(self.operation_id)  # without one the process does not start

    def __getattr__(self, name: str) -> Any:
        """Analyse the endpoint for the first attribute that is missing."""
        if name.startswith("__") or "dependant" in self.__dict__:
            raise AttributeError(name)
        super().__init__(self.path, self.endpoint, **self._options)
        return object.__getattribute__(self, name)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's own handler."""
        handler = super().get_route_handler()
        known = {
            field.alias
            for field in get_flat_params(self.dependant)
            if isinstance(field.field_info, Query)
        }

        async def operation(request: Request) -> Response:
            if unknown := set(request.query_params) - known:
                raise ValidationFailed(*_unknown(sorted(unknown), sorted(known)))
            return await handler(request)

        takes_json = self.body_field is not None
        rule, operation_id = rule_of(self.operation_id), self.operation_id

        async def handle(request: Request) -> Response:
            guard: Guard = request.app.state.guard
            listing.set(operation_id or "")
            try:
                request = DocumentRequest(request.scope, request.receive)
                return await guard.handle(
                    request, operation, rule, operation_id, takes_json=takes_json
                )
            except Exception as error:
                return problem_of(error).response()

        return handle


def _unknown(names: Sequence[str], known: Sequence[str]) -> Iterator[FieldError]:
    takes = ", ".join(known) or "none"
    for name in names[:_MOST_NAMED]:
        yield FieldError(
            name[:_LONGEST_NAME], f"unknown query parameter; this operation takes {takes}"
        )
