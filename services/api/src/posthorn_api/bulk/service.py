"""Bulk import: lines of JSON in, a line of JSON for each out, some hundred in one transaction.

Rules:

- A line that says what is there already is ``unchanged``: an import that broke off is repeated as a
  whole.
- Nothing is overwritten: a line that differs from what is there fails, and says in which field. The
  answer names the manager of what is there (ADR 51).
- Memory and disk are bounded: by the batch, in lines and bytes, and by a spool for answers that the
  client does not read yet, for many clients write everything before they read anything. When the
  spool is full no more is read until the client has read; one that goes on writing only is given up
  after a minute.
- A tenant has a few imports at a time (``runtime.fair_slots``), each with a least rate.
- Answers are sent when the directory is marked as behind with what was made
  (``Publication.announce``): mail for an account that was reported as created never bounces.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from tempfile import SpooledTemporaryFile

import structlog
from pydantic import BaseModel, ValidationError

from posthorn.ports.accounts import AccountState, NewAccount
from posthorn.ports.api_keys import ApiKey
from posthorn.ports.errors import FieldError, ValidationFailed
from posthorn.ports.imports import Imports, Known, Outcome, Result
from posthorn.ports.sending import Charge, Throttle
from posthorn.runtime.fair_slots import FairSlots
from posthorn.runtime.holders import present_holder
from posthorn.runtime.least_rate import LeastRate
from posthorn.runtime.passwords import Busy, Passwords
from posthorn.runtime.tasks import cancel_and_wait
from posthorn_api.bulk.schemas import AccountLine, AliasLine
from posthorn_api.directory.fields import address_in, password_fault, targets_in
from posthorn_api.directory.publication import Publication, announced
from posthorn_api.http.problems import faults_of, problem_of
from posthorn_api.pending import Pending

log = structlog.get_logger()

BATCH = 500
"""Lines in a transaction at most."""
LONGEST_LINE = 128 * 1024
"""Bytes of a line."""
BATCH_BYTES = 1024 * 1024
"""Bytes of the lines in a transaction at most; one line more may pass it."""
SPOOL_BYTES = 8 * 1024 * 1024
"""Bytes of answers that are kept for a client that does not read."""
AT_ONCE, AT_ONCE_EACH = 6, 2
"""Imports at work in this process, and of one tenant."""
WHOLE_SECONDS = 6 * 3600.0
"""How long an import may take in all."""
IDLE_SECONDS = 60.0
"""How long nothing may come before the import is broken off."""
UNREAD_SECONDS = 60.0
"""How long the answers may be left unread when there are too many."""
MOST_WRONG_PER_DAY = 10
"""Wrong passwords that are compared with that of an account: an import must not serve to guess it."""
_DAY_SECONDS = 86_400.0
_HASHING = 2
_SPOOL_IN_MEMORY = 256 * 1024


type _Work[T] = Callable[[Sequence[Line[T]]], Awaitable[dict[int, Result]]]


@dataclass(frozen=True, slots=True)
class Line[T]:
    """A line of an import; ``value`` is None when it does not read."""

    number: int
    address: str | None
    value: T | None
    faults: tuple[FieldError, ...] = ()


class BulkImportService:
    """Reads accounts or aliases and makes them. Every method takes the caller's key and sees
    what its tenant sees."""

    def __init__(
        self,
        imports: Imports,
        passwords: Passwords,
        throttle: Throttle,
        publication: Pending[Publication] | None = None,
        *,
        whole_seconds: float = WHOLE_SECONDS,
    ) -> None:
        self._imports = imports
        self._passwords = passwords
        self._throttle = throttle
        self._publication = publication or Pending[Publication]("nats")
        self._whole_seconds = whole_seconds
        self.slots = FairSlots("imports", AT_ONCE, most_each=AT_ONCE_EACH, spare=2)

    async def accounts(
        self, caller: ApiKey, lines: AsyncIterator[bytes], *, is_plan: bool = False
    ) -> Answers:
        """Begin an import of accounts; ``lines`` are the bytes of the body in pieces. ``is_plan``:
        tell what would come of it. Raises SlotsTaken."""

        async def work(batch: Sequence[Line[AccountLine]]) -> dict[int, Result]:
            return await self._accounts(caller, batch, is_plan=is_plan)

        return await self._begin(lines, AccountLine, work)

    async def aliases(
        self, caller: ApiKey, lines: AsyncIterator[bytes], *, is_plan: bool = False
    ) -> Answers:
        """The same of aliases."""

        async def work(batch: Sequence[Line[AliasLine]]) -> dict[int, Result]:
            return await self._aliases(caller, batch, is_plan=is_plan)

        return await self._begin(lines, AliasLine, work)

    async def _begin[T: BaseModel](
        self, lines: AsyncIterator[bytes], shape: type[T], work: _Work[T]
    ) -> Answers:
        holder = present_holder()
        await self.slots.take(holder)
        paced = LeastRate(idle_seconds=IDLE_SECONDS, whole_seconds=self._whole_seconds).read(lines)
        return Answers(paced, shape, work, lambda: self.slots.give(holder))

    async def _accounts(
        self, caller: ApiKey, batch: Sequence[Line[AccountLine]], *, is_plan: bool = False
    ) -> dict[int, Result]:
        results: dict[int, Result] = {}
        wanted: dict[str, tuple[int, AccountLine]] = {}
        for line in batch:
            assert line.value is not None
            try:
                address = address_in("address", line.value.address)
            except ValidationFailed as unfit:
                results[line.number] = Result(Outcome.FAILED, tuple(unfit.faults))
                continue
            if address in wanted:
                results[line.number] = _failed(
                    "address", f"{address} comes twice in this part of the import"
                )
            else:
                wanted[address] = line.number, line.value
        known = await self._imports.known(caller.tenant, list(wanted))
        hashing = asyncio.Semaphore(_HASHING)

        async def prepared(address: str, value: AccountLine) -> NewAccount | Result:
            async with hashing:
                return await self._prepared(address, value, known, is_plan=is_plan)

        made = await asyncio.gather(
            *(prepared(address, value) for address, (_, value) in wanted.items())
        )
        ready: list[NewAccount] = []
        for (number, _), each in zip(wanted.values(), made, strict=True):
            if isinstance(each, Result):
                results[number] = each
            else:
                ready.append(each)
        if ready:
            done = await self._imports.accounts(caller.tenant, ready, is_plan=is_plan)
            results |= {
                wanted[new.address][0]: result for new, result in zip(ready, done, strict=True)
            }
            made_now = [
                new.address
                for new, result in zip(ready, done, strict=True)
                if result.outcome is Outcome.CREATED and not is_plan
            ]
            await announced(self._publication, made_now)
        return results

    async def _prepared(
        self, address: str, value: AccountLine, known: Known, *, is_plan: bool
    ) -> NewAccount | Result:
        """Return the account to be made, with the hash of its password; a plan needs none."""
        new = NewAccount(address, "", value.quota_bytes, AccountState(value.state))
        if value.password_hash is not None:
            if value.password is not None:
                return _failed("password_hash", "either this or a password")
            try:
                stored_hash = self._passwords.accepted(value.password_hash)
            except ValueError as error:
                return _failed("password_hash", str(error))
            return replace(new, password_hash=stored_hash)
        if value.password is None:
            return _failed("password", "this or password_hash is needed")
        stored = known.hashes.get(address)
        if stored is not None:
            wrong = Charge(f"import-password:{address}", MOST_WRONG_PER_DAY, _DAY_SECONDS)
            if await self._throttle.take([replace(wrong, cost=0)]):
                return _failed("password", "it was compared too often today; try again later")
            if await self._passwords.verify(stored, value.password):
                return replace(new, password_hash=stored)
            await self._throttle.take([wrong])
        shortest = known.shortest.get(address.rpartition("@")[2])
        if shortest is None:
            return _failed(
                "address", f"there is no domain {address.rpartition('@')[2]} here; create it first"
            )
        if fault := password_fault(address, value.password, shortest):
            return _failed("password", fault)
        if stored is not None or is_plan:
            return new
        return replace(new, password_hash=await self._passwords.hash(value.password))

    async def _aliases(
        self, caller: ApiKey, batch: Sequence[Line[AliasLine]], *, is_plan: bool = False
    ) -> dict[int, Result]:
        results: dict[int, Result] = {}
        ready: list[tuple[int, tuple[str, Sequence[str]]]] = []
        for line in batch:
            assert line.value is not None
            try:
                pair = address_in("address", line.value.address), targets_in(line.value.targets)
            except ValidationFailed as unfit:
                results[line.number] = Result(Outcome.FAILED, tuple(unfit.faults))
            else:
                ready.append((line.number, pair))
        pairs = [pair for _, pair in ready]
        done = await self._imports.aliases(caller.tenant, pairs, is_plan=is_plan)
        made = [
            pair[0]
            for (_, pair), result in zip(ready, done, strict=True)
            if result.outcome is Outcome.CREATED and not is_plan
        ]
        await announced(self._publication, made)
        return results | {number: result for (number, _), result in zip(ready, done, strict=True)}


class Answers:
    """The answers of an import, as bytes in pieces. The import runs from the moment this is
    made, and ends with it."""

    def __init__[T: BaseModel](
        self,
        pieces: AsyncIterator[bytes],
        shape: type[T],
        work: _Work[T],
        ended: Callable[[], None],
    ) -> None:
        self._file = SpooledTemporaryFile(_SPOOL_IN_MEMORY)  # noqa: SIM115 - close() closes it
        self._written = self._read = 0
        self._more, self._less = asyncio.Event(), asyncio.Event()
        self._counts: Counter[str] = Counter()
        self._done = False
        self._ended = ended
        self._task = asyncio.create_task(self._run(pieces, shape, work))

    async def octets(self) -> AsyncIterator[bytes]:
        """Yield the answers as they come."""
        while True:
            if self._read < self._written:
                self._file.seek(self._read)
                piece = self._file.read(65_536)
                self._read += len(piece)
                if self._read == self._written:
                    self._file.seek(0)
                    self._file.truncate()
                    self._read = self._written = 0
                self._less.set()
                yield piece
            elif self._done:
                return
            else:
                self._more.clear()
                await self._more.wait()

    async def close(self) -> None:
        """End the import; what is in the database stays."""
        await cancel_and_wait(self._task)
        self._file.close()
        self._ended()

    async def _run[T: BaseModel](
        self, pieces: AsyncIterator[bytes], shape: type[T], work: _Work[T]
    ) -> None:
        last: dict[str, object] = {"done": True}
        try:
            async for batch in _batches(pieces, shape):
                good = [line for line in batch if line.value is not None]
                results = await work(good) if good else {}
                for line in batch:
                    result = results.get(line.number) or Result(Outcome.FAILED, line.faults)
                    self._counts[result.outcome.value] += 1
                    self._tell(_shown(line, result))
                await self._room()
        except Busy:
            last = {
                "done": False,
                "status": 503,
                "detail": "too many passwords wait to be hashed; send it again",
            }
        except _Unread:
            last = {
                "done": False,
                "status": 408,
                "detail": "the answers were not read in time; read them while you send",
            }
        except TimeoutError:
            last = {
                "done": False,
                "status": 408,
                "detail": "the lines did not arrive in time; send them again",
            }
        except Exception as error:
            problem = problem_of(error)
            last = {
                "done": False,
                "status": problem.status,
                "detail": f"{problem.detail}; send all again",
            }
        finally:
            counts = {outcome.value: self._counts[outcome.value] for outcome in Outcome}
            self._tell({**last, "lines": self._counts.total(), **counts})
            log.info("import", **counts)
            self._done = True
            self._more.set()

    async def _room(self) -> None:
        """Wait until the client has read so much that there is room for the answers to a batch.
        Raises _Unread."""
        while self._written >= SPOOL_BYTES:  # until all is read: only then is the room on disk free
            self._less.clear()
            try:
                async with asyncio.timeout(UNREAD_SECONDS):
                    await self._less.wait()
            except TimeoutError:
                raise _Unread from None

    def _tell(self, line: dict[str, object]) -> None:
        data = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        self._file.seek(self._written)
        self._file.write(data)
        self._written += len(data)
        self._more.set()


class _Unread(Exception):
    """The client does not read its answers."""


async def _batches[T: BaseModel](
    pieces: AsyncIterator[bytes], shape: type[T]
) -> AsyncIterator[list[Line[T]]]:
    batch: list[Line[T]] = []
    number, held, rest = 0, 0, b""
    async for piece in _with_end(pieces):
        *lines, rest = (rest + piece).split(b"\n")
        for data in lines:
            number += 1
            _check_length(number, data)
            if data.strip():
                batch.append(_read(number, data, shape))
                held += len(data)
            if len(batch) == BATCH or held >= BATCH_BYTES:
                yield batch
                batch, held = [], 0
        _check_length(number + 1, rest)
    if batch:
        yield batch


async def _with_end(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield piece
    yield b"\n"  # the last line may have none


def _check_length(number: int, data: bytes) -> None:
    if len(data) > LONGEST_LINE:
        raise ValidationFailed(
            FieldError(f"line {number}", f"a line may have at most {LONGEST_LINE} bytes")
        )


def _read[T: BaseModel](number: int, data: bytes, shape: type[T]) -> Line[T]:
    try:
        value = shape.model_validate_json(data)
    except ValidationError as error:
        return Line(number, None, None, tuple(faults_of(error.errors())))
    return Line(number, str(getattr(value, "address", "")), value)


def _shown[T](line: Line[T], result: Result) -> dict[str, object]:
    shown: dict[str, object] = {
        "line": line.number,
        "address": line.address,
        "status": result.outcome.value,
    }
    if result.faults:
        shown["errors"] = [
            {"field": fault.field, "message": fault.message} for fault in result.faults
        ]
    if result.manager is not None:
        shown["managed_by"] = result.manager
    return shown


def _failed(field: str, message: str) -> Result:
    return Result(Outcome.FAILED, (FieldError(field, message),))
