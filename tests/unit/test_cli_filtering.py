"""`posthorn filter`: a change is made to the policy as it is, whoever changes it meanwhile."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from posthorn_cli.client import ApiError, Client
from posthorn_cli.commands.filtering import Policy

PROBLEM = {
    "type": "urn:posthorn:problem:changed",
    "title": "Precondition failed",
    "status": 412,
    "detail": "it has changed since it was read",
}


class Contended(httpx.BaseTransport):
    """A policy that somebody else changes ``times`` times, each time just after it was read."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.version = 0
        self.document: dict[str, Any] = {"block": None}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        tag = f'"{self.version}"'
        if request.method == "GET":
            answer = httpx.Response(200, json=self.document, headers={"ETag": tag})
            if self.times:
                self.times -= 1
                self.version += 1
                self.document = {"block": [f"{self.version}.test"]}
            return answer
        if request.headers["If-Match"] != tag:
            return httpx.Response(412, json=PROBLEM)
        self.document = json.loads(request.read())
        return httpx.Response(200, json=self.document)


def _blocking(transport: Contended) -> Any:
    client = Client("http://127.0.0.1:8080", "ph_key", transport=transport)
    policy = Policy(
        "the system",
        client.get_system_filter_policy,
        client.set_system_filter_policy,
        client.unset_system_filter_policy,
    )
    return policy.changed(
        client, lambda present: present | {"block": [*(present["block"] or []), "a.test"]}
    )


def test_a_change_of_somebody_else_is_kept() -> None:
    assert _blocking(Contended(2)) == {"block": ["2.test", "a.test"]}


def test_a_policy_that_never_rests_is_not_overwritten() -> None:
    transport = Contended(1000)
    with pytest.raises(ApiError) as refused:
        _blocking(transport)
    assert refused.value.status == 412
    assert "a.test" not in transport.document["block"]
