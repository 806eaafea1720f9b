"""The API keeps to its own description: whatever it allows, and much that it does not, is asked
of a running system."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from posthorn_api.app import operations
from tests.support.system import System

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@schemathesis.serializer("application/x-ndjson", "application/mbox", "application/x-tar")
def _as_it_is(_: Any, value: Any) -> bytes:
    """Streams of lines and archives: whatever was made goes up as octets."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


EXAMPLES = 12
"""Of each operation; the seed is fixed, so that a failure comes back."""

ENDLESS = frozenset({"followEvents"})
"""Operations whose answers have no end: of these only the head is compared."""
OPERATIONS = sorted(
    each.operation_id for each in operations() if each.operation_id and each.path.startswith("/v1/")
)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system of its own: what is asked may delete or suspend anything."""
    running = System(tmp_path_factory.mktemp("description") / "home")
    running.start()
    yield running
    running.close()


@pytest.fixture(scope="module")
def description(asked: System) -> Any:
    """The OpenAPI document, as it is served."""
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{asked.ports['API']}/openapi.json")


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_an_operation_keeps_to_its_description(
    asked: System, description: Any, operation_id: str
) -> None:
    operation = description.find_operation_by_id(operation_id)
    headers = {"Authorization": f"Bearer {asked.key}"}

    @seed(1)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        if operation_id in ENDLESS:
            request = case.as_transport_kwargs(headers=headers)
            with requests.request(**request, stream=True, timeout=30) as answer:
                described = operation.definition.raw["responses"][str(answer.status_code)]
                kind = answer.headers["Content-Type"].partition(";")[0]
                assert kind in described["content"], answer.status_code
        else:
            case.call_and_validate(headers=headers, checks=CHECKS, timeout=30)

    ask()
