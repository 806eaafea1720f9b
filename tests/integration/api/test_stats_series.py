"""Statistics as series: zeros filled, domains summed unless asked, refusals by reason."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from posthorn.ports.api_keys import Role
from posthorn.ports.statistics import Figure, Span
from posthorn_api.events.series import filled, intervals
from tests.support.api import Api, problem

NINE, TEN = datetime(2027, 1, 15, 9, tzinfo=UTC), datetime(2027, 1, 15, 10, tzinfo=UTC)


def test_every_interval_has_a_number() -> None:
    span = Span(None, NINE.replace(minute=30), datetime(2027, 1, 15, 11, 30, tzinfo=UTC), "hour")
    at = intervals(span)
    assert [each.hour for each in at] == [9, 10, 11]
    view = filled(
        [Figure(TEN, "", "refused/dmarc", 2, 0), Figure(TEN, "", "refused/x", 1, 0)],
        at,
        by_domain=False,
    )
    shown = {(each.outcome, each.reason): each.messages for each in view.series}
    assert shown.pop(("refused", None)) == [0, 3, 0]
    assert shown.pop(("refused", "dmarc")) == [0, 2, 0]
    assert shown.pop(("refused", "x")) == [0, 1, 0]
    assert len(shown) == 8 and set(map(tuple, shown.values())) == {(0, 0, 0)}
    days = intervals(Span(None, NINE, datetime(2027, 1, 17, tzinfo=UTC), "day"))
    assert [(each.day, each.hour) for each in days] == [(15, 0), (16, 0)]


async def test_series_are_of_the_callers_tenant(api: Api) -> None:
    acme, other = await api.tenant("acme"), await api.tenant("other")
    for tenant, domain, hour, outcome, messages in (
        (acme, "acme.test", NINE, "delivered", 3),
        (acme, "b.test", NINE, "delivered", 4),
        (acme, "b.test", TEN, "refused/dmarc", 5),
        (other, "other.test", TEN, "delivered", 100),
    ):
        await api.sql(
            "INSERT INTO statistics (tenant_id, domain, hour, outcome, messages, octets)"
            " VALUES ($1, $2, $3, $4, $5::bigint, $5::bigint * 10)",
            tenant,
            domain,
            hour,
            outcome,
            messages,
        )
    key = await api.key(Role.READ_ONLY, acme)
    span = {"since": "2027-01-15T09:00:00Z", "until": "2027-01-15T12:00:00Z"}

    async def series(headers: dict[str, str] | None, **query: Any) -> dict[tuple[Any, ...], Any]:
        answer = await api.client.get("/v1/stats/series", params=span | query, headers=headers)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert all(len(each["messages"]) == len(found["at"]) for each in found["series"])
        return {
            (each["domain"], each["outcome"], each["reason"]): each["messages"]
            for each in found["series"]
            if each["total"]
        }

    assert await series(key) == {
        (None, "delivered", None): [7, 0, 0],
        (None, "refused", None): [0, 5, 0],
        (None, "refused", "dmarc"): [0, 5, 0],
    }
    assert (await series(None))[None, "delivered", None] == [7, 100, 0]
    assert await series(key, by_domain=True) == {
        ("acme.test", "delivered", None): [3, 0, 0],
        ("b.test", "delivered", None): [4, 0, 0],
        ("b.test", "refused", None): [0, 5, 0],
        ("b.test", "refused", "dmarc"): [0, 5, 0],
    }
    assert await series(key, domain="acme.test", by="day") == {(None, "delivered", None): [3]}
    late = {"since": "2027-01-01T00:00:00Z", "until": "2027-03-01T00:00:00Z"}
    problem(await api.client.get("/v1/stats/series", params=late), 422, "invalid", "since")
    problem(
        await api.client.get(
            "/v1/stats/series?since=2027-01-02T00:00:00Z&until=2027-01-01T00:00:00Z"
        ),
        422,
        "invalid",
        "since",
    )
