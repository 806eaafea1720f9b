"""Traces of messages: ids and sampling follow from the message's id, and a receiver that is away
costs nothing."""

from __future__ import annotations

import time
from uuid import UUID

import pytest
from opentelemetry.trace import SpanKind
from prometheus_client import REGISTRY
from pydantic import ValidationError

from posthorn.ports.api_keys import ApiKey, Role
from posthorn.runtime import traces
from posthorn.runtime.ids import new_id
from posthorn.runtime.otlp import LowBitsSampler, OtlpTracer
from posthorn.runtime.traces import TraceSettings, tracing
from posthorn_api.http.telemetry import http_telemetry
from posthorn_api.queue.trace_link import trace_link
from posthorn_api.settings import ApiSettings
from tests.support.polling import until
from tests.support.trace_receiver import TraceReceiver, receiving


@pytest.mark.parametrize("ratio", [0.01, 0.25, 0.5, 0.75, 0.9])
def test_the_part_that_is_sampled_is_the_ratio(ratio: float) -> None:
    sampler = LowBitsSampler(ratio)
    number = 20_000
    found = sum(sampler.samples(new_id().int) for _ in range(number)) / number
    assert found == pytest.approx(ratio, abs=0.03)
    assert not any(LowBitsSampler(0).samples(new_id().int) for _ in range(100))
    assert all(LowBitsSampler(1).samples(new_id().int) for _ in range(100))


def test_what_a_lower_ratio_samples_a_higher_one_samples_too() -> None:
    few, more = LowBitsSampler(0.1), LowBitsSampler(0.6)
    found = [id_ for id_ in (new_id().int for _ in range(1000)) if few.samples(id_)]
    assert found and all(more.samples(id_) for id_ in found)


def test_a_root_span_and_a_traceparent_follow_from_the_message() -> None:
    message = UUID("0190163d-8694-739b-aea5-966c26f8ad91")
    assert traces.root_span_of(message) == 0xAEA5966C26F8AD91
    assert traces.traceparent(message) == "00-0190163d8694739baea5966c26f8ad91-aea5966c26f8ad91-01"


def test_no_local_part_is_an_attribute() -> None:
    addresses = ["alice@example.test", '"a@b"@example.test', "postmaster", "bob@other.test"]
    found = traces.receipt("mx", 10, "carol@from.test", addresses, 250)
    assert found[traces.SENDER_DOMAIN] == "from.test"
    assert found[traces.RECIPIENT_DOMAINS] == ["example.test", "", "other.test"]
    assert not any(name in str(found) for name in ("alice", "bob", "carol", "postmaster"))
    many = traces.receipt("mx", 1, "", [f"a@d{each}.test" for each in range(500)], 250)
    assert len(many[traces.RECIPIENT_DOMAINS]) == 10  # type: ignore[arg-type]


async def traced(receiver: TraceReceiver, ratio: float = 1.0) -> OtlpTracer:
    return OtlpTracer("delivery", receiver.endpoint, ratio)


async def test_spans_of_services_meet_in_one_trace_and_a_batch_is_linked() -> None:
    message, other = new_id(), new_id()
    with receiving() as receiver:
        first, second = await traced(receiver), await traced(receiver)
        began = time.time_ns()
        second.span(traces.ATTEMPT, message, began, {traces.REPLY_CODE: 450}, fault="4xx")
        batch = second.batch([message, other], began, {traces.MESSAGES: 2})
        second.span(traces.PLACE, message, began, links=[batch])
        first.span(traces.RECEIVE, message, began, {traces.ROLE: "mx"})
        await first.close()
        await second.close()
    by_name = {each.name: each for each in receiver.of(message.int)}
    root = traces.root_span_of(message)
    assert (by_name["receive"].span, by_name["receive"].parent) == (root, 0)
    assert {by_name[name].parent for name in ("attempt", "place")} == {root}
    assert by_name["attempt"].is_error and not by_name["place"].is_error
    assert by_name["attempt"].attributes == {traces.REPLY_CODE: 450, traces.FAULT: "4xx"}
    assert by_name["place"].links == [batch]
    (of_batch,) = receiver.of(batch[0])
    assert of_batch.name == "batch" and of_batch.span == batch[1] and of_batch.parent == 0
    assert of_batch.links == [(each.int, traces.root_span_of(each)) for each in (message, other)]
    assert {each.service for each in receiver.spans} == {"posthorn-delivery"}


async def test_a_batch_is_recorded_whatever_the_ratio() -> None:
    with receiving() as receiver:
        tracer = await traced(receiver, 0.001)
        made = [tracer.batch([new_id()], time.time_ns()) for _ in range(20)]
        await tracer.close()
    assert {each.trace for each in receiver.spans} == {trace for trace, _ in made}


@pytest.mark.parametrize(
    ("said", "queued"), [({}, 2048), ({"OTEL_BSP_MAX_QUEUE_SIZE": "600"}, 600)]
)
async def test_a_receiver_that_is_away_holds_nothing_up_and_the_queue_is_bounded(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, str], queued: int
) -> None:
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    dropped, sent = spans_counted("dropped"), spans_counted("sent")
    tracer = OtlpTracer("relay", "http://127.0.0.1:9", 1.0)
    for _ in range(2 * queued):
        tracer.span(traces.ATTEMPT, new_id(), time.time_ns())
    (processor,) = tracer.provider._active_span_processor._span_processors
    assert len(processor._batch_processor._queue) <= queued  # type: ignore[attr-defined]
    await tracer.close()
    await until(lambda: spans_counted("dropped") > dropped)
    assert spans_counted("sent") == sent


def spans_counted(outcome: str) -> float:
    labels = {"outcome": outcome}
    return REGISTRY.get_sample_value("posthorn_traces_spans_total", labels) or 0.0


async def test_nothing_is_traced_without_an_endpoint() -> None:
    async with tracing("relay", TraceSettings.model_validate({})):
        assert http_telemetry()["tracing"] is False
        assert _is_off()
    with receiving() as receiver:
        settings = {"otlp_endpoint": receiver.endpoint, "trace_ratio": 1}
        async with tracing("relay", TraceSettings.model_validate(settings)):
            assert not _is_off()
        assert _is_off()


async def test_a_link_leads_to_messages_that_are_traced_for_keys_of_the_platform() -> None:
    url = "https://traces.example.test/trace/{trace_id}?open"
    message, id_ = new_id(), UUID(int=1)
    platform = ApiKey(id_, "ops", Role.PLATFORM_ADMIN, None)
    tenant = ApiKey(id_, "acme", Role.TENANT_ADMIN, new_id())
    assert trace_link(url, platform, message) is None
    for ratio, link in ((1, url.replace("{trace_id}", message.hex)), (0, None)):
        settings = {"otlp_endpoint": "http://127.0.0.1:9", "trace_ratio": ratio}
        async with tracing("api", TraceSettings.model_validate(settings)):
            assert trace_link(url, platform, message) == link
            assert trace_link(url, tenant, message) is None
            assert trace_link("", platform, message) is None


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert({trace_id})",
        "https://traces.example.test/trace/",
        "https://traces.example.test/{trace_id}/{span_id}",
        "https://traces.example.test/ {trace_id}",
        'https://traces.example.test/"{trace_id}',
        "//traces.example.test/{trace_id}",
    ],
)
def test_a_link_without_a_place_for_the_id_or_of_another_kind_is_refused(url: str) -> None:
    needed = {"database_url": "postgresql://x", "secret_key": "k" * 44}
    with pytest.raises(ValidationError) as refused:
        ApiSettings.model_validate({**needed, "trace_url": url})
    assert "trace_url" in {str(error["loc"][0]) for error in refused.value.errors()}


def _is_off() -> bool:
    return traces.tracer is None


async def test_requests_are_traced_without_addresses_and_callers_do_not_sample() -> None:
    with receiving() as receiver:
        settings = {"otlp_endpoint": receiver.endpoint, "trace_ratio": 1}
        async with tracing("api", TraceSettings.model_validate(settings)):
            config = http_telemetry()
            assert config["logs"] is False and config["operation_spans"] is False
            exclude, provider = config["exclude"], config["tracer_provider"]
            assert exclude is not None and provider is not None
            assert exclude({"path": "/console/"}) and not exclude({"path": "/v1/accounts"})
            attributes = {
                "url.path": "/v1/accounts/alice@example.test",
                "url.query": "q=alice",
                "client.address": "192.0.2.1",
                "http.request.method": "GET",
            }
            span = provider.get_tracer("fastapi").start_span(
                "GET", kind=SpanKind.SERVER, attributes=attributes
            )
            span.set_attribute("http.route", "/v1/accounts/{address}")
            span.end()
    outer = next(each for each in receiver.spans if each.name == "GET")
    assert outer.parent == 0
    assert outer.attributes == {
        "http.request.method": "GET",
        "http.route": "/v1/accounts/{address}",
    }
    assert not any(b"alice" in body or b"192.0.2.1" in body for body in receiver.raw)
