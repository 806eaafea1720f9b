"""JetStream layout: four streams, four consumers and three buckets, created and updated from the
settings, and the further partitions of INGEST (``partitions``).

The permitted parts (``permissions.LAYOUT_KEEPERS``) do this at any time, and concurrently: creation
is idempotent, and a refusal because another process was faster leads to a new query. All others
wait until what they need exists.

INGEST has four lanes, each with a consumer of its own: ``ingest.*`` for first deliveries,
``retry.*`` for messages that could not be delivered (ADR 19). A third, ``unscanned.*``, holds
messages that the scanning tier did not judge in their session (ADR 31). A fourth, ``frames.*.*``,
holds messages that were published together (ADR 34); delivery alone adds it. On a work-queue stream no
message may belong to two consumers, so the order is: the first consumer's filter, the stream's
subjects, the other consumers. A release without the lane reverts the first two when it connects,
and keeps working; the next process of this release that misses the lane recreates it.

Mail does not depend on EVENTS, nor on what the scanning tier keeps (COUNTERS, and the buckets of
bans and of the greylist): a server that refuses those is used without them.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import structlog

from posthorn.adapters.nats.errors import ApiError, Denied
from posthorn.adapters.nats.partitions import JetStreamApi, list_partitions
from posthorn.model.streams import (
    BANS,
    COUNTERS,
    COUNTERS_PREFIX,
    DEAD,
    DIRECTORY,
    EVENTS,
    EVENTS_PREFIX,
    FRAMES,
    FRAMES_CONSUMER,
    GREYLIST,
    INGEST,
    INGEST_CONSUMER,
    RETRY_CONSUMER,
    UNSCANNED_CONSUMER,
    in_partition,
    ingest_stream,
)
from posthorn.ports.errors import Unavailable
from posthorn.runtime.brakes import Brake
from posthorn.runtime.settings import NatsSettings

log = structlog.get_logger()


ACK_WAIT = 10.0
"""Seconds after which a message that is neither acknowledged nor reported as in progress is
redelivered."""
DUPLICATE_WINDOW = 120.0
"""Seconds for which the streams recognise a message id (duplicate window)."""
BUCKET_STREAM: Final = f"KV_{DIRECTORY}"
"""The stream behind the bucket."""
BUCKET_PREFIX: Final = f"$KV.{DIRECTORY}."
"""Prefix of a key's subject."""
BANS_STREAM: Final = f"KV_{BANS}"
BANS_PREFIX: Final = f"$KV.{BANS}."
GREYLIST_STREAM: Final = f"KV_{GREYLIST}"
GREYLIST_PREFIX: Final = f"$KV.{GREYLIST}."
COUNTERS_SECONDS: Final = 7200.0
"""Seconds for which a counter is kept after its last change: two of the longest windows."""
_MIB: Final = 1024**2
_DRAINED_BYTES: Final = 8 * _MIB

_NEEDED: Final = {
    "smtp-in": (INGEST, BUCKET_STREAM),
    "submission": (INGEST, BUCKET_STREAM),
    "relay": (INGEST,),
    "pop3": (),
    "imap": (),
    "scan": (INGEST,),
}
"""Streams that a part requires. Mail does not wait for EVENTS."""
_OPTIONAL: Final = frozenset({EVENTS, COUNTERS, BANS_STREAM, GREYLIST_STREAM})
"""Streams without which everything else works."""
_SECOND = 1_000_000_000
_TRIMMING = Brake("streams", 0.1, 1024**2)
_IN_USE = 10058  # the stream's name is in use with a different configuration
_NO_STREAM = 10059


def _common(settings: NatsSettings) -> dict[str, Any]:
    return {
        "storage": "file",
        "num_replicas": settings.nats_replicas,
        "discard": "new",
        "duplicate_window": round(DUPLICATE_WINDOW * _SECOND),
        "allow_direct": True,
        "max_age": 0,
    }


def ingest(settings: NatsSettings, partition: int) -> dict[str, Any]:
    """Return the configuration of a partition of INGEST. One beyond the number in the settings is
    drained, and keeps room for what is set aside meanwhile."""
    number = settings.ingest_partitions
    return {
        "name": ingest_stream(partition),
        "subjects": [
            in_partition(subjects, partition)
            for subjects in ("ingest.*", "retry.*", "unscanned.*", FRAMES)
        ],
        "retention": "workqueue",
        "max_bytes": max(1, settings.ingest_max_bytes // number)
        if partition < number
        else _DRAINED_BYTES,
        "allow_atomic": True,
        **_common(settings),
    }


def streams(settings: NatsSettings) -> list[dict[str, Any]]:
    """Return the configurations of the required streams, that of INGEST first."""
    common = _common(settings)
    return [
        ingest(settings, 0),
        {
            "name": DEAD,
            "subjects": ["dead.*"],
            "retention": "limits",
            "max_bytes": settings.dead_max_bytes,
            **common,
        },
        {
            **common,
            "name": EVENTS,
            "subjects": [f"{EVENTS_PREFIX}*"],
            "retention": "limits",
            "max_bytes": settings.events_max_bytes,
            "max_age": round(settings.events_max_age_seconds * _SECOND),
            "discard": "old",
            "allow_atomic": True,
        },
        {
            "name": BUCKET_STREAM,
            "subjects": [f"{BUCKET_PREFIX}>"],
            "retention": "limits",
            "max_msgs_per_subject": 1,
            "allow_rollup_hdrs": True,
            "deny_delete": True,
            "allow_msg_ttl": True,
            **common,
        },
        {
            "name": COUNTERS,
            "subjects": [f"{COUNTERS_PREFIX}>"],
            "retention": "limits",
            "max_msgs_per_subject": 1,
            "allow_msg_counter": True,
            **common,
            "storage": "memory",
            "num_replicas": 1,  # a lost count only delays a ban
            "discard": "old",
            "max_bytes": 32 * _MIB,
            "max_age": round(COUNTERS_SECONDS * _SECOND),
        },
        *(
            {
                "name": name,
                "subjects": [f"{prefix}>"],
                "retention": "limits",
                "max_msgs_per_subject": 1,
                "allow_rollup_hdrs": True,
                "deny_delete": True,
                "allow_msg_ttl": True,
                **common,
                "storage": storage,
                "discard": "old",
                "max_bytes": most,
            }
            # a flood of strangers must not keep the disk from what is accepted
            for name, prefix, storage, most in (
                (BANS_STREAM, BANS_PREFIX, "file", 16 * _MIB),
                (GREYLIST_STREAM, GREYLIST_PREFIX, "memory", 64 * _MIB),
            )
        ),
    ]


def consumers(partition: int = 0) -> list[dict[str, Any]]:
    """Return the configurations of a partition's pull consumers, which all delivery processes
    share, that of first deliveries first.

    Messages waiting for a retry count as unacknowledged: the retry lane may hold many, the first
    lane none.
    """
    return [
        {
            "name": name,
            "durable_name": name,
            "filter_subject": in_partition(subjects, partition),
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": round(ACK_WAIT * _SECOND),
            "max_deliver": -1,
            "max_ack_pending": most,
            "max_waiting": 512,
            "replay_policy": "instant",
        }
        for name, subjects, most in (
            (INGEST_CONSUMER, "ingest.*", 8192),
            (RETRY_CONSUMER, "retry.*", 1024),
            (UNSCANNED_CONSUMER, "unscanned.*", 1024),
            (FRAMES_CONSUMER, FRAMES, 1024),
        )
    ]


async def ensure_layout(
    jetstream: JetStreamApi, settings: NatsSettings, *, reads_ingest: bool = True
) -> None:
    """Create what is missing and update what differs. Raises Unavailable when JetStream does not
    serve.

    ``reads_ingest``: whether to add the lane of frames where it is missing, and the further
    partitions. Only who reads them does, since publishers use them as soon as they exist.
    """
    if reads_ingest:
        await _ensure_partitions(jetstream, settings, drained=True)
    first, *others = consumers()
    try:
        await _ensure_consumer(jetstream, first)
    except ApiError as refusal:
        if refusal.err_code != _NO_STREAM:
            raise
    may_make = True
    for wanted in streams(settings):
        is_optional = wanted["name"] in _OPTIONAL
        if is_optional and not may_make:
            continue
        try:
            if wanted["name"] == INGEST and not reads_ingest and not await _has_frames(jetstream):
                wanted["subjects"].remove(FRAMES)
                others = [each for each in others if each["filter_subject"] != FRAMES]
            await _ensure_stream(jetstream, wanted, may_trim=settings.events_trim)
        except Unavailable as fault:
            if not is_optional:
                raise
            # a server that does not know the permissions of this release does not answer
            may_make = isinstance(fault, ApiError)
            log.warning("works without a stream", stream=wanted["name"], fault=fault)
    for consumer in (first, *others):
        await _ensure_consumer(jetstream, consumer)
    if reads_ingest:
        await _ensure_partitions(jetstream, settings, drained=False)


async def _ensure_partitions(
    jetstream: JetStreamApi, settings: NatsSettings, *, drained: bool
) -> None:
    """Create or update the partitions of INGEST but the first: those that are ``drained`` before
    the others grow. Mail flows without them: a fault is logged."""
    partitions: Iterable[int] = range(1, settings.ingest_partitions)
    if drained:
        partitions = ()
        with suppress(Unavailable):
            existing = await list_partitions(jetstream)
            partitions = [each for each in existing if each >= settings.ingest_partitions]
    for partition in partitions:
        try:
            await _ensure_stream(jetstream, ingest(settings, partition), may_trim=False)
            for consumer in consumers(partition):
                await _ensure_consumer(jetstream, consumer, partition)
        except Unavailable as fault:
            log.warning("works without a partition", partition=partition, fault=fault)
            if isinstance(fault, Denied):
                return


async def _has_frames(jetstream: JetStreamApi) -> bool:
    try:
        present = (await jetstream.api(f"STREAM.INFO.{INGEST}"))["config"]
    except ApiError as error:
        if error.err_code != _NO_STREAM:
            raise
        return False
    return FRAMES in present["subjects"]


async def _ensure_consumer(
    jetstream: JetStreamApi, wanted: dict[str, Any], partition: int = 0
) -> None:
    stream = ingest_stream(partition)
    await jetstream.api(
        f"CONSUMER.CREATE.{stream}.{wanted['name']}", {"stream_name": stream, "config": wanted}
    )


async def expect_layout(jetstream: JetStreamApi, settings: NatsSettings, part: str) -> None:
    """Check that the streams exist that a part needs and may not create: of the partitions of
    INGEST one, so that mail is accepted while another has no leader. Raises Unavailable."""
    for stream in _NEEDED[part]:
        try:
            await jetstream.api(f"STREAM.INFO.{stream}")
        except Unavailable:
            if stream != INGEST or not await _has_further_partition(jetstream, settings):
                raise


async def _has_further_partition(jetstream: JetStreamApi, settings: NatsSettings) -> bool:
    for partition in range(1, settings.ingest_partitions):
        with suppress(Unavailable):
            await jetstream.api(f"STREAM.INFO.{ingest_stream(partition)}")
            return True
    return False


async def _ensure_stream(
    jetstream: JetStreamApi, wanted: dict[str, Any], *, may_trim: bool
) -> None:
    name = wanted["name"]
    try:
        info = await jetstream.api(f"STREAM.INFO.{name}")
        present = info["config"]
    except ApiError as error:
        if error.err_code != _NO_STREAM:
            raise
        try:
            info = await jetstream.api(f"STREAM.CREATE.{name}", wanted)
            present = info["config"]
            log.info("created a stream", stream=name)
        except ApiError as refusal:
            if refusal.err_code != _IN_USE:
                raise
            info = await jetstream.api(f"STREAM.INFO.{name}")  # another process was faster
            present = info["config"]
    different = sorted(
        key for key, value in wanted.items() if present.get(key, _absent(value)) != value
    )
    if wanted["discard"] == "old" and not may_trim:
        kept = limits_to_keep(info, wanted)
        different = sorted(set(different) - kept.keys())
        wanted = {**wanted, **kept}
    if not different:
        return
    try:
        await jetstream.api(f"STREAM.UPDATE.{name}", {**present, **wanted})
        log.info("updated a stream", stream=name, fields=different)
    except ApiError as error:
        # Some fields cannot change, and a limit below what is stored is refused: the stream is used
        # as it is.
        log.warning(
            "a stream cannot be updated to the settings",
            stream=name,
            fields=different,
            detail=str(error),
        )


def limits_to_keep(info: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the limits to keep unchanged: the wanted ones would remove much of the stream at
    once (ADR 18)."""
    present, state = info["config"], info.get("state", {})
    stored = int(state.get("bytes", 0))
    by_bytes = stored - wanted["max_bytes"] if wanted["max_bytes"] > 0 else 0
    by_age, lasts = 0.0, wanted["max_age"] / _SECOND
    with suppress(KeyError, TypeError, ValueError):
        age = (parse_time(info["ts"]) - parse_time(state["first_ts"])).total_seconds()
        by_age = stored * (1 - lasts / age) if 0 < lasts < age and stored else 0.0
    limits = {limit: present.get(limit, 0) for limit in ("max_bytes", "max_age")}
    lowered = any(limits[limit] != wanted[limit] for limit in limits)
    if not _TRIMMING.holds(max(by_bytes, round(by_age)) if lowered else 0, stored):
        return {}
    log.error("a stream's limits are not lowered: see POSTHORN_EVENTS_TRIM", **limits)
    return limits


def parse_time(stamp: str) -> datetime:
    """Parse an RFC 3339 time with up to nine fraction digits, as NATS writes it. Raises
    ValueError."""
    whole, dot, rest = stamp.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return datetime.fromisoformat(f"{whole}{dot}{rest[: min(digits, 6)]}{rest[digits:]}")


def _absent(value: Any) -> Any:
    return type(value)()  # JetStream omits what is zero, empty or false
