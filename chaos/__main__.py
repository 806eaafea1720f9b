"""Run it: `python -m chaos [--seed N] [--minutes M | --faults N] [--short] [--s3]
[--partitions N] [--keep DIRECTORY]`.

Exit status 1 when anything was lost, duplicated, corrupted, or unfinished at the end.
"""

from __future__ import annotations

import argparse
import imaplib
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from tests.support.maildrop import RefusedError

from chaos.clients import ACCOUNTS, MOVER, Administrator, Reading, World, clients, furnish
from chaos.faults import Faults
from chaos.imap_clients import ImapReading, sizes_in_inbox
from chaos.ledger import Ledger, Verdict
from chaos.report import Result, UnfinishedWork, longest_delivery, show, unfinished_work
from chaos.sink import Sink
from chaos.stand import PARTS, Stand

_CALM_SECONDS = 240.0
"""Seconds after the last fault within which everything must be finished."""
_SETTLED_SECONDS = 13.0
"""The stream redelivers after 10 s."""
_TICK = 0.1
_DOORS = ("smtp-in", "submission", "pop3", "imap", "api")


def main() -> int:
    """Run the load with faults, then report what was found."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="posthorn-chaos-") as made:
        directory = arguments.keep or Path(made)
        directory.mkdir(parents=True, exist_ok=True)
        stand = Stand(directory, s3=arguments.s3, environment={}, partitions=arguments.partitions)
        try:
            result = _run(stand, arguments)
        finally:
            stand.close()
    show(result)
    return 0 if result.verdict.well and result.calm_seconds is not None else 1


def _run(stand: Stand, arguments: argparse.Namespace) -> Result:
    ledger = Ledger()
    sink = Sink(ledger)
    sink.start()
    _say(f"seed {arguments.seed}; starting in {stand.directory}")
    stand.start()
    world = World(stand, ledger, threading.Event())
    furnish(world, sink.port)
    load, administrator = clients(world, arguments.seed)
    mover = ImapReading(world, f"{arguments.seed} mover", 0.7)
    load.append(mover)
    for client in load:
        client.thread.start()
    began = time.monotonic()
    faults = Faults(stand, arguments.seed, gentle=arguments.short)
    until = began + arguments.minutes * 60
    while time.monotonic() < until and len(faults.history) < arguments.faults:
        if said := faults.step(beginning=True):
            _say(f"{time.monotonic() - began:6.1f} s  {said}")
        stand.revive()
        time.sleep(_TICK)
    while faults.step(beginning=False) or any(not each.ended_at for each in faults.history):
        stand.revive()
        time.sleep(_TICK)
    faults.finish()
    ended = time.monotonic()
    _say(f"{ended - began:6.1f} s  no more faults; {len(ledger.entries)} messages so far")
    while stand.is_down or not all(stand.is_ready(part) for part in PARTS):
        if time.monotonic() > ended + _CALM_SECONDS:
            break
        stand.revive()
        time.sleep(_TICK)
    world.over_at = time.monotonic() + 100  # a key whose attempt was killed is free after a minute
    world.ending.set()
    for client in load:
        while client.thread.is_alive() and time.monotonic() < world.over_at + 35:
            stand.revive()
            client.thread.join(_TICK)
    verdict, calm = _calm(world, sink, faults, administrator, mover, ended)
    pauses = {door: ledger.longest_pause(door, began, ended) for door in _DOORS}
    pauses["relay"] = ledger.longest_pause("relay", began, ended)
    pauses["delivery"] = longest_delivery(stand.database_url)
    returns = {
        part: faults.slowest_return(lambda moment, part=part: ledger.returned_after(part, moment))  # type: ignore[misc]
        for part in (*_DOORS, "relay")
    }
    return Result(
        arguments.seed,
        "S3" if stand.has_s3 else "directory",
        ended - began,
        list(ledger.entries.values()),
        faults.history,
        verdict,
        calm,
        pauses,
        returns,
        unfinished_work(stand.database_url),
    )


def _calm(
    world: World,
    sink: Sink,
    faults: Faults,
    administrator: Administrator,
    mover: ImapReading,
    ended: float,
) -> tuple[Verdict, float | None]:
    """Wait until nothing is missing or in progress, then judge; return the seconds it took, None
    when the time ran out."""
    deadline = time.monotonic() + _CALM_SECONDS
    calm: float | None = None
    while True:
        world.stand.revive()
        unfinished = _release(world)
        read = _read_all(world, mover)
        verdict = world.ledger.judge(sink.copies(), faults.troubled)
        if read and not verdict.lost and unfinished is not None and unfinished.at_rest:
            if calm is not None and time.monotonic() - ended - calm > _SETTLED_SECONDS:
                break
            calm = time.monotonic() - ended if calm is None else calm
        else:
            calm = None
        if time.monotonic() > deadline:
            if unfinished is None or not unfinished.at_rest:
                verdict.other.append(f"not at rest: {unfinished}")
            calm = None
            break
        time.sleep(1)
    _check_accounts(world, administrator, mover, verdict)
    if not mover.moved:
        verdict.other.append("nothing was moved by IMAP")
    return verdict, calm


def _release(world: World) -> UnfinishedWork | None:
    """Release held recipients, cancel undeliverable ones; return the unfinished work."""
    with suppress(Exception), world.api() as api:
        api.post("/v1/queue/release", json={"all": True})
        api.post("/v1/queue/cancel", json={"domain": "cancel.test"})
        return unfinished_work(world.stand.database_url, delivery=world.stand.health["delivery"])
    return None


def _sizes(world: World, address: str, mover: ImapReading) -> list[int]:
    """Read all mail of an account; return the sizes of its messages. Raises OSError, RefusedError,
    IMAP4.abort."""
    if address == MOVER:
        return mover.visit()
    return Reading(world, address, 0, address, "keep").visit()


def _read_all(world: World, mover: ImapReading) -> bool:
    """Read every mailbox; return whether all could be read."""
    for address in ACCOUNTS:
        try:
            _sizes(world, address, mover)
        except (OSError, RefusedError, imaplib.IMAP4.abort):
            return False
    return True


def _check_accounts(
    world: World, administrator: Administrator, mover: ImapReading, verdict: Verdict
) -> None:
    """Check that what the API answered with 2xx is stored, that usage equals the messages present,
    and that IMAP shows what POP3 shows."""
    with world.api() as api:
        for address in ACCOUNTS:
            found = api.get(f"/v1/accounts/{address}").json()
            sizes = _sizes(world, address, mover)
            used = found.get("used_messages"), found.get("used_bytes")
            if used != (len(sizes), sum(sizes)):
                verdict.other.append(
                    f"{address} uses {used}, and there are {len(sizes)} messages, {sum(sizes)} bytes"
                )
            if address != MOVER and (shown := sizes_in_inbox(world, address)) != sorted(sizes):
                verdict.other.append(
                    f"{address} has {len(sizes)} messages by POP3 and {len(shown)} by IMAP, or of"
                    " other sizes"
                )
        found = api.get(f"/v1/accounts/{ACCOUNTS[0]}").json()
        if found.get("quota_bytes") not in administrator.quota:
            verdict.other.append(
                f"quota of {ACCOUNTS[0]} is {found.get('quota_bytes')}, not {administrator.quota}"
            )
        for address in administrator.made:
            if api.get(f"/v1/accounts/{address}").status_code != 200:
                verdict.lost.append(f"the account {address}")


def _say(text: str) -> None:
    print(text, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long faults go on")
    parser.add_argument("--faults", type=int, default=10**6, help="how many faults at most")
    parser.add_argument(
        "--short", action="store_true", help="half a minute of short faults, for CI"
    )
    parser.add_argument(
        "--partitions", type=int, default=2, help="streams among which INGEST is divided"
    )
    parser.add_argument(
        "--s3", action="store_true", help="bodies in a real S3 server, which gets faults as well"
    )
    parser.add_argument("--keep", type=Path, help="a directory for state and logs, which is kept")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.minutes = min(arguments.minutes, 0.5)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
