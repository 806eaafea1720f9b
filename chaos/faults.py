"""Faults, chosen by a seed: each begins and ends, and the main loop does both."""

from __future__ import annotations

import asyncio
import functools
import json
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import nats

from chaos.stand import PARTS, Stand
from posthorn.model.streams import ingest_stream

_RELAYS = frozenset({"relay", "postgres"})
"""Parts whose faults excuse a second copy at the external host."""
_AROUND_SECONDS = 30.0
"""Seconds after the end of such a fault for which its effects may last: a suspended relay was
taken for dead, its recipients were claimed by others, and it finishes its transactions all the
same, slowly if its bodies arrive slowly."""
_SECOND_AT_ONCE = 0.15
_LEASES = (
    "UPDATE maildrop_leases SET expires_at = clock_timestamp() - interval '1 second'",
    "UPDATE leaderships SET expires_at = clock_timestamp() - interval '1 second'",
    "UPDATE outbound_recipients SET due_at = clock_timestamp() - interval '1 second' WHERE state = 'sending'",
)


@dataclass(slots=True)
class Fault:
    """One fault."""

    kind: str
    victims: tuple[str, ...]
    seconds: float
    """From its beginning to its end."""
    begin: Callable[[], None]
    end: Callable[[], None] = lambda: None
    began_at: float = 0.0
    """Monotonic seconds."""
    ended_at: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} {', '.join(self.victims)}" + (
            f" {self.seconds:.0f} s" if self.seconds else ""
        )


@dataclass
class Faults:
    """Injects faults, one after the other and sometimes two at once, until stopped."""

    stand: Stand
    seed: int
    gentle: bool = False
    """Shorter faults, for the short run."""
    history: list[Fault] = field(default_factory=list)
    _open: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._next_at = time.monotonic() + 3
        self._plan = self._kinds()

    def step(self, *, beginning: bool) -> str | None:
        """End the faults that are due to end, begin those due to begin; return the latter's
        description."""
        now = time.monotonic()
        for fault in [each for each in self._open if now >= each.began_at + each.seconds]:
            fault.end()
            fault.ended_at = time.monotonic()
            self._open.remove(fault)
        if not beginning or now < self._next_at or len(self._open) > 1:
            return None
        fault = next(self._plan)
        fault.began_at = now
        fault.begin()
        self.history.append(fault)
        self._open.append(fault)
        pause = self._chance.uniform(1, 2) if self.gentle else self._chance.uniform(3, 10)
        together = self._chance.random() < _SECOND_AT_ONCE
        self._next_at = now + pause + (0 if together else fault.seconds)
        return str(fault)

    def finish(self) -> None:
        """End all current faults."""
        for fault in self._open:
            fault.end()
            fault.ended_at = time.monotonic()
        self._open.clear()

    def troubled(self, moment: float) -> bool:
        """Return whether the relay or one of its stores had a fault around this moment."""
        return any(
            _RELAYS & set(fault.victims)
            and fault.began_at - 2 <= moment <= (fault.ended_at or moment) + _AROUND_SECONDS
            for fault in self.history
        )

    def slowest_return(self, seconds: Callable[[float], float]) -> tuple[float, str]:
        """Return the longest time from the end of a fault to service, among faults that no other
        followed meanwhile."""
        found = (0.0, "no fault")
        for fault in self.history:
            took = seconds(fault.ended_at)
            disturbed = any(
                other.ended_at > fault.ended_at and other.began_at < fault.ended_at + took
                for other in self.history
            )
            if not disturbed:
                found = max(found, (took, str(fault)))
        return found

    # ---- kinds

    def _kinds(self) -> Iterator[Fault]:
        """Every kind once in a random order, again and again."""
        kinds: list[Callable[[], Fault]] = [
            *[self._kill_parts] * 4,
            *[self._terminate_parts] * 3,
            *[self._stop_parts] * 2,
            self._kill_everything,
            self._expire_leases,
            self._fill_ingest,
            self._nats_in_a_row,
        ]
        stores = ["nats", "postgres", *(["s3"] if self.stand.has_s3 else [])]
        for store in stores:
            ways = (
                self._kill_store,
                self._hold_store,
                self._stop_store,
                self._swallow,
                self._break,
                self._slow,
            )
            kinds += [functools.partial(way, store) for way in ways]
        while True:
            self._chance.shuffle(kinds)
            for kind in kinds:
                yield kind()

    def _seconds(self, least: float, most: float) -> float:
        return self._chance.uniform(least, most) / (3 if self.gentle else 1)

    def _some_parts(self) -> tuple[str, ...]:
        draw = self._chance.random()
        count = 1 if draw < 0.6 else self._chance.randint(2, 3) if draw < 0.85 else len(PARTS)
        return tuple(self._chance.sample(PARTS, count))

    def _signal(self, victims: Sequence[str], number: int) -> Callable[[], None]:
        def send() -> None:
            for victim in victims:
                self.stand.signal(victim, number)

        return send

    def _kill_parts(self) -> Fault:
        victims = self._some_parts()
        return Fault("SIGKILL", victims, 0, self._signal(victims, signal.SIGKILL))

    def _terminate_parts(self) -> Fault:
        victims = self._some_parts()
        return Fault("SIGTERM", victims, 0, self._signal(victims, signal.SIGTERM))

    def _stop_parts(self) -> Fault:
        victims = self._some_parts()
        begin, end = self._signal(victims, signal.SIGSTOP), self._signal(victims, signal.SIGCONT)
        return Fault("SIGSTOP", victims, self._seconds(5, 20), begin, end)

    def _kill_everything(self) -> Fault:
        def begin() -> None:
            self._signal(PARTS, signal.SIGKILL)()
            for store in ("nats", "postgres"):
                self.stand.stop_store(store, kill=True)

        return Fault("SIGKILL", (*PARTS, "nats", "postgres"), 0, begin)

    def _kill_store(self, store: str) -> Fault:
        kill = self._chance.random() < 0.6
        name = "SIGKILL" if kill else "SIGTERM"
        return Fault(name, (store,), 0, lambda: self.stand.stop_store(store, kill=kill))

    def _hold_store(self, store: str) -> Fault:
        return Fault(
            "away",
            (store,),
            self._seconds(4, 15),
            lambda: self.stand.hold_down(store, kill=True),
            lambda: self.stand.release(store),
        )

    def _nats_in_a_row(self) -> Fault:
        def begin() -> None:
            for number in range(4):
                self.stand.stop_store("nats", kill=bool(number % 2))
                self.stand.revive()
                time.sleep(0.5)

        return Fault("restarted four times", ("nats",), 0, begin)

    def _stop_store(self, store: str) -> Fault:
        begin, end = self._signal((store,), signal.SIGSTOP), self._signal((store,), signal.SIGCONT)
        return Fault("SIGSTOP", (store,), self._seconds(5, 20), begin, end)

    def _swallow(self, store: str) -> Fault:
        link = self.stand.links[store]
        seconds = self._chance.choice((0.0, self._seconds(4, 12)))
        return Fault("packets swallowed", (store,), seconds, link.swallow, link.heal)

    def _break(self, store: str) -> Fault:
        link = self.stand.links[store]
        begin, name = self._chance.choice(((link.cut, "link cut"), (link.stall, "link stalled")))
        return Fault(name, (store,), self._seconds(3, 12), begin, link.heal)

    def _slow(self, store: str) -> Fault:
        link, delay = self.stand.links[store], self._chance.uniform(0.02, 0.2)

        def set_delay(seconds: float) -> None:
            link.delay_seconds = seconds

        return Fault(
            "link slow",
            (store,),
            self._seconds(6, 15),
            lambda: set_delay(delay),
            lambda: set_delay(0.0),
        )

    def _expire_leases(self) -> Fault:
        """Expire all leases, as when the clock of Postgres jumps."""

        async def expire() -> None:
            connection = await asyncpg.connect(
                self.stand.database_url, timeout=10, command_timeout=10
            )
            for statement in _LEASES:
                await connection.execute(statement)
            await connection.close()

        return Fault("leases end", ("pop3", "relay", "delivery"), 0, lambda: _quietly(expire()))

    def _fill_ingest(self) -> Fault:
        """Leave INGEST no room, as if it had reached its limit: one of its partitions, which mail
        passes over, or all."""
        number = self.stand.partitions
        chosen = self._chance.choice([*range(number), None])
        streams = [ingest_stream(each) for each in range(number) if chosen in (each, None)]

        async def limit(max_bytes: int) -> None:
            connection = await nats.connect(
                self.stand.nats_url, connect_timeout=5, allow_reconnect=False
            )
            for stream in streams:
                config = (await _api(connection, f"STREAM.INFO.{stream}", None))["config"]
                update = {**config, "max_bytes": max_bytes}
                await _api(connection, f"STREAM.UPDATE.{stream}", update)
            await connection.close()

        return Fault(
            f"{' and '.join(streams)} full",
            ("nats",),
            self._seconds(4, 10),
            lambda: _quietly(limit(1024)),
            lambda: _quietly(limit(8 * 1024**3 // number)),
        )


async def _api(connection: Any, operation: str, document: dict[str, Any] | None) -> dict[str, Any]:
    payload = json.dumps(document).encode() if document is not None else b""
    answer: dict[str, Any] = json.loads(
        (await connection.request(f"$JS.API.{operation}", payload, timeout=5)).data
    )
    return answer


def _quietly(work: Any) -> None:
    """Run it, ignoring a store that another fault has stopped."""
    try:
        asyncio.run(asyncio.wait_for(work, 15))
    except Exception as error:
        print(f"  (not done: {type(error).__name__})")
