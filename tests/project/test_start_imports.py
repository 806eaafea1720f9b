"""What the services load before they serve. Each module costs time at every start and memory for
as long as the process lives: a new library in this list is a decision (docs/performance.md)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel

from posthorn_api.app import operations
from posthorn_api.http.schemas import ApiModel

_NOWHERE = (
    *("sqlalchemy", "alembic", "minio", "urllib3", "rich", "posthorn_local", "pytest"),
    # traces: where an endpoint is set
    *("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto", "google.protobuf"),
    *("requests", "posthorn.runtime.otlp"),
)
_STORES = ("asyncpg", "posthorn.adapters.postgres")
_WEB = ("fastapi", "starlette")
_FORBIDDEN = {
    # the inbound tier has no database and keeps no bodies but in S3
    "smtp_in": (*_WEB, *_STORES, "opentelemetry", "jwt", "dns", "cryptography"),
    "scan": (*_WEB, *_STORES, "opentelemetry", "argon2", "jwt"),
    "delivery": (*_WEB, "opentelemetry", "argon2", "jwt", "dns", "httpcore"),
    "relay": (*_WEB, "opentelemetry", "argon2", "jwt"),
    "pop3": (*_WEB, "opentelemetry", "dns", "httpcore", "cryptography", "jwt"),
    "imap": (*_WEB, "opentelemetry", "dns", "httpcore", "cryptography", "jwt"),
    "api": ("jwt", "posthorn.wire.imap.commands"),
}
_MOST_MODULES = {
    "smtp_in": 720,
    "scan": 780,
    "delivery": 820,
    "relay": 960,
    "pop3": 710,
    "imap": 850,
    "api": 1360,
}
"""Modules that a service may load: some 50 more than it does."""

_LIST = """
import sys
sys.modules["rich"] = None  # not in the images; structlog would take it up here
import posthorn_{service}.main, posthorn_{service}.composition
print(*(name for name, module in sys.modules.items() if module is not None))
"""


@pytest.fixture(scope="module")
def loaded() -> Iterator[dict[str, list[str]]]:
    def names(service: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", _LIST.format(service=service)],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()

    with ThreadPoolExecutor(2) as pool:
        yield dict(zip(_MOST_MODULES, pool.map(names, _MOST_MODULES), strict=True))


@pytest.mark.parametrize("service", _MOST_MODULES)
def test_a_service_loads_no_more_than_it_needs(loaded: dict[str, list[str]], service: str) -> None:
    names = loaded[service]
    for forbidden in (*_NOWHERE, *_FORBIDDEN[service]):
        found = [name for name in names if f"{name}.".startswith(f"{forbidden}.")]
        assert not found, f"{service} loads {found[0]} at start"
    assert len(names) <= _MOST_MODULES[service], f"{service} loads {len(names)} modules"


_TEMPLATE = """
import sys
from posthorn_local.service import load
from posthorn_local.template import SHARED
before = set(sys.modules)
for name in SHARED:
    load(name)
print(*(name for name in sys.modules.keys() - before))
"""


def test_the_template_of_local_mode_loads_of_ours_what_every_service_loads(
    loaded: dict[str, list[str]],
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TEMPLATE], capture_output=True, text=True, check=True
    )
    ours = {name for name in done.stdout.split() if name.startswith("posthorn")}
    assert ours
    for service, names in loaded.items():
        assert ours <= set(names), f"{service} would show the metrics of others"


def test_the_shapes_of_the_api_are_built_when_they_are_used() -> None:
    eager = [
        f"{each.__module__}.{each.__qualname__}"
        for each in _subclasses(BaseModel)
        if each.__module__.startswith("posthorn_api.")
        and not each.__module__.endswith("settings")
        and not issubclass(each, ApiModel)
    ]
    assert not eager, "derive from ApiModel"


_ANALYSED = """
from posthorn_api.app import operations
print(sum("dependant" in vars(route) for route in operations()), len(list(operations())))
"""


def test_operations_are_analysed_when_they_are_asked_for() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ANALYSED], capture_output=True, text=True, check=True
    )
    analysed, of = map(int, done.stdout.split())
    assert analysed == 0 < of
    route = next(operations())
    assert isinstance(route, APIRoute)
    assert route.dependant.call is route.endpoint
    with pytest.raises(AttributeError, match="no_such_attribute"):
        _ = route.no_such_attribute  # type: ignore[attr-defined]


def _subclasses(kind: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for each in kind.__subclasses__():
        yield each
        yield from _subclasses(each)
