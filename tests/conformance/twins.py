"""Working in-memory twins of what the POP3 service stands on, which can be made to fail;
``mail_stores`` has the real parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

import zstandard

from posthorn.model.blob_range import BlobRange, BodyLocation
from posthorn.model.envelope import Body
from posthorn.ports.access import Ending, FamiliarNetwork, LoginCheck, Proof, digest_of
from posthorn.ports.blobs import BlobInfo, BlobMissing, Blobs
from posthorn.ports.errors import Unavailable
from posthorn.ports.maildrops import (
    AccountLogin,
    LeaseLost,
    Listing,
    MaildropBusy,
    Maildrops,
    Revoked,
    unique_id,
)
from posthorn.ports.sending import Charge, Credentials
from posthorn.runtime.ids import new_id
from posthorn.runtime.passwords import Passwords
from posthorn.wire.address import Address

PASSWORD = "correct horse"
SEGMENT_MESSAGES = 50
VALIDITY = 7
TENANT = UUID("00000000-0000-7000-8000-000000000007")


class MemoryBlobs:
    """Blobs in a dictionary. ``reads`` lists (key, offset, length); ``fault`` makes every read
    raise."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.reads: list[tuple[str, int, int]] = []
        self.fault: Unavailable | None = None
        self.stream_fault_after: int | None = None
        """Octets after which a stream fails."""
        self.hold: asyncio.Event | None = None
        """Reads wait for it."""

    async def put(self, key: str, parts: Sequence[bytes]) -> None:
        self.objects[key] = b"".join(parts)

    async def put_file(self, key: str, file: object, size: int) -> None:
        raise AssertionError("the POP3 service writes nothing")

    async def read(self, key: str, offset: int, length: int) -> bytes:
        self.reads.append((key, offset, length))
        if self.hold is not None:
            await self.hold.wait()
        await asyncio.sleep(0)
        if self.fault:
            raise self.fault
        if key not in self.objects:
            raise BlobMissing("blobs", key)
        octets = self.objects[key][offset : offset + length]
        if len(octets) != length:
            raise Unavailable("blobs", "short")
        return octets

    async def stream(
        self, key: str, offset: int, length: int, chunk: int = 262_144
    ) -> AsyncGenerator[bytes]:
        sent = 0
        for at in range(offset, offset + length, chunk):
            if self.stream_fault_after is not None and sent >= self.stream_fault_after:
                raise Unavailable("blobs", "broke off")
            piece = await self.read(key, at, min(chunk, offset + length - at))
            yield piece
            sent += len(piece)

    async def move(self, key: str, to: str) -> None:
        raise AssertionError("the POP3 service moves nothing")

    async def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    async def list(self, prefix: str) -> AsyncGenerator[BlobInfo]:
        for key in sorted(self.objects):
            if key.startswith(prefix):
                yield BlobInfo(key, len(self.objects[key]), datetime.now(UTC))

    async def probe(self, *, writes: bool = True) -> None:
        if self.fault:
            raise self.fault


@dataclass
class _Account:
    login: AccountLogin
    locations: dict[int, BodyLocation] = field(default_factory=dict)
    lease: tuple[UUID, float] | None = None
    by_app_password: bool = False
    next_uid: int = 1


class MemoryMaildrops:
    """Maildrops in dictionaries. ``faults`` names methods that raise Unavailable; ``calls``
    lists the calls."""

    lease_seconds = 25.0

    def __init__(self) -> None:
        self.accounts: dict[int, _Account] = {}
        self.networks: set[FamiliarNetwork] = set()
        self.faults: set[str] = set()
        self.calls: list[str] = []
        self.hold: dict[str, asyncio.Event] = {}
        """Calls of these methods wait for the event, after they are listed."""
        self.now = 0.0

    async def _called(self, method: str) -> None:
        self.calls.append(method)
        if method in self.hold:
            await self.hold[method].wait()
        await asyncio.sleep(0)
        if method in self.faults:
            raise Unavailable("postgres", "made to fail")

    def _holds(self, account: int, holder: UUID) -> bool:
        known = self.accounts.get(account)
        return known is not None and known.lease is not None and known.lease[0] == holder

    async def login(
        self, address: str, network: bytes = b"", check: LoginCheck | None = None
    ) -> AccountLogin | None:
        await self._called("login")
        found = next(
            (each.login for each in self.accounts.values() if each.login.address == address), None
        )
        if found is not None and FamiliarNetwork(found.account, network) in self.networks:
            return replace(found, network_age=0.0)
        return found

    async def remember(self, networks: Collection[FamiliarNetwork]) -> None:
        await self._called("remember")
        self.networks.update(networks)

    async def open(
        self,
        account: int,
        holder: UUID,
        *,
        by_app_password: bool = False,
        known: Listing | None = None,
    ) -> Listing:
        await self._called("open")
        of = self.accounts[account]
        is_held = of.lease is not None and of.lease[1] > self.now and of.lease[0] != holder
        if is_held and (by_app_password or not of.by_app_password):
            raise MaildropBusy
        of.lease = (holder, self.now + self.lease_seconds)
        of.by_app_password = by_app_password
        uids = sorted(of.locations)
        version = ",".join(map(str, uids))
        if known is not None and known.version == f"v{version}":
            return known
        sizes = [of.locations[uid].size for uid in uids]
        return Listing(VALIDITY, uids, sizes, version=f"v{version}")

    async def renew(self, holders: Collection[tuple[int, UUID]]) -> set[UUID]:
        await self._called("renew")
        held = {holder for account, holder in holders if self._holds(account, holder)}
        for account, holder in holders:
            if holder in held:
                self.accounts[account].lease = (holder, self.now + self.lease_seconds)
        return held

    async def ended(self, sessions: Mapping[UUID, Proof]) -> dict[UUID, Ending]:
        await self._called("ended")
        found = {}
        for holder, proof in sessions.items():
            if ending := self._ending(proof):
                found[holder] = ending
            elif not self._holds(proof.account, holder):
                found[holder] = Ending.TAKEN
        return found

    def _ending(self, proof: Proof) -> Ending | None:
        known = self.accounts.get(proof.account)
        if known is None or not known.login.active:
            return Ending.CLOSED
        if proof.password and digest_of(known.login.password_hash) != proof.password:
            return Ending.CHANGED
        return None

    async def locate(self, account: int, uids: Collection[int]) -> dict[int, BodyLocation]:
        await self._called("locate")
        locations = self.accounts[account].locations
        return {uid: locations[uid] for uid in uids if uid in locations}

    async def commit(
        self, account: int, holder: UUID, uids: Collection[int], proof: Proof | None = None
    ) -> int:
        await self._called("commit")
        if not self._holds(account, holder):
            raise LeaseLost
        if proof is not None and (ending := self._ending(proof)):
            raise Revoked(ending)
        known = self.accounts[account]
        for uid in uids:
            known.locations.pop(uid, None)
        known.lease = None
        return len(uids)

    async def release(self, holders: Collection[tuple[int, UUID]]) -> None:
        await self._called("release")
        for account, holder in holders:
            if self._holds(account, holder):
                self.accounts[account].lease = None

    async def probe(self) -> None:
        await self._called("probe")


class MailStore(Protocol):
    """Accounts and their mail, on whatever parts."""

    @property
    def maildrops(self) -> Maildrops: ...

    @property
    def blobs(self) -> Blobs: ...

    async def account(self, address: str, *, active: bool = True) -> int:
        """Make an account with PASSWORD."""
        ...

    async def deliver(
        self, account: int, messages: Iterable[bytes], encoding: str = "identity"
    ) -> None:
        """Put messages into the INBOX, packed into segments."""
        ...

    async def remove(self, account: int, uid: int) -> None:
        """Delete a message as the API does, under an open session."""
        ...

    async def uidls(self, account: int) -> list[str]:
        """The unique ids of what lies in the INBOX now. Raises MaildropBusy while a session
        holds it."""
        ...


@dataclass(frozen=True)
class Packed:
    """A segment made for a test."""

    key: str
    id: UUID
    octets: bytes
    blob_ranges: list[tuple[UUID, bytes, BlobRange]]


def pack(messages: Sequence[bytes], encoding: str = "identity") -> Packed:
    """Lay messages one behind the other."""
    segment = new_id()
    octets = b""
    blob_ranges = []
    ids = sorted(new_id() for _ in messages)  # delivery numbers the messages of a batch by id
    for id_, message in zip(ids, messages, strict=True):
        stored = zstandard.compress(message) if encoding == "zstd" else message
        blob_ranges.append((id_, message, BlobRange(len(octets), len(stored), encoding)))
        octets += stored
    return Packed(f"segments/{segment}", segment, octets, blob_ranges)


def locations(packed: Packed) -> list[BodyLocation]:
    return [
        BodyLocation(
            id_,
            packed.key,
            place.offset,
            place.length,
            place.encoding,
            len(message),
            Body.from_message(message).has_dot_lines,
        )
        for id_, message, place in packed.blob_ranges
    ]


def in_groups(messages: Iterable[bytes]) -> Iterable[list[bytes]]:
    group: list[bytes] = []
    for message in messages:
        group.append(message)
        if len(group) == SEGMENT_MESSAGES:
            yield group
            group = []
    if group:
        yield group


class MemoryMailStore:
    """A MailStore in memory."""

    def __init__(self, password_hash: str) -> None:
        self.maildrops = MemoryMaildrops()
        self.blobs = MemoryBlobs()
        self._hash = password_hash

    async def account(self, address: str, *, active: bool = True) -> int:
        number = len(self.maildrops.accounts) + 1
        self.maildrops.accounts[number] = _Account(
            AccountLogin(number, address, self._hash, active, TENANT)
        )
        return number

    async def deliver(
        self, account: int, messages: Iterable[bytes], encoding: str = "identity"
    ) -> None:
        known = self.maildrops.accounts[account]
        for group in in_groups(messages):
            packed = pack(group, encoding)
            await self.blobs.put(packed.key, [packed.octets])
            for location in locations(packed):
                uid, known.next_uid = known.next_uid, known.next_uid + 1
                known.locations[uid] = location

    async def remove(self, account: int, uid: int) -> None:
        known = self.maildrops.accounts[account]
        known.locations.pop(uid)

    async def uidls(self, account: int) -> list[str]:
        known = self.maildrops.accounts[account]
        if known.lease:
            raise MaildropBusy
        return [unique_id(VALIDITY, uid).decode() for uid in sorted(known.locations)]

    def move(self, account: int) -> None:
        """Do as the collector: put every blob under another key."""
        names = {key: f"segments/{new_id()}" for key in self.blobs.objects}
        self.blobs.objects = {names[key]: octets for key, octets in self.blobs.objects.items()}
        known = self.maildrops.accounts[account]
        known.locations = {
            uid: replace(location, key=names[location.key])
            for uid, location in known.locations.items()
        }


class NoAppPasswords:
    """Senders of which none has an app password."""

    async def credentials(self, address: str, network: bytes = b"") -> Credentials | None:
        return None

    async def remember(self, networks: Collection[FamiliarNetwork]) -> None:
        raise AssertionError("the POP3 service records networks with its maildrops")

    async def ended(self, proofs: Collection[Proof]) -> dict[Proof, Ending]:
        raise AssertionError("the POP3 service asks its maildrops")

    async def app_password(
        self, account: int, key_hash: bytes, scope: str, client: str = ""
    ) -> bool:
        return False

    async def owns(self, account: int, address: Address) -> bool:
        return False


class Patience:
    """A Throttle that lets everything through."""

    async def take(self, charges: Sequence[Charge]) -> float:
        return 0.0


async def hash_of_password() -> str:
    """The stored hash of PASSWORD."""
    passwords = Passwords(1)
    try:
        return await passwords.hash(PASSWORD)
    finally:
        passwords.close()
