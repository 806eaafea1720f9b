"""A DNS server of the tests' own: scripted zones on loopback, UDP and TCP on one port, with the
faults that names can have.

It answers as a validating recursive resolver would: follows aliases, sets the AD bit for what was
added as ``secure`` when the question has the DO bit, tells an empty answer from a name that does
not exist.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from types import TracebackType
from typing import Self, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

type Key = tuple[dns.name.Name, dns.rdatatype.RdataType]


class DnsServer:
    """``async with DnsServer() as dns: dns.add("a.test", "MX", "10 mx.a.test.")``; what is added
    holds at once."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()
        """How often each name and type was asked for, by UDP or TCP."""
        self.by_tcp = 0
        self._records: dict[Key, dns.rrset.RRset] = {}
        self._secure: set[dns.name.Name] = set()
        self._rcodes: dict[Key, dns.rcode.Rcode] = {}
        self._silent: dict[Key, int] = {}
        self._cut: set[Key] = set()
        self._garbage: set[Key] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    @property
    def address(self) -> str:
        """As the settings take it."""
        return f"127.0.0.1:{self.port}"

    def add(self, name: str, kind: str, *values: str, ttl: int = 60, secure: bool = False) -> None:
        """Set the records of a name and type; ``secure`` holds for all of the name."""
        key = _key(name, kind)
        self._records[key] = dns.rrset.from_text_list(key[0], ttl, "IN", kind, values)
        if secure:
            self._secure.add(key[0])

    def exists(self, name: str, *, secure: bool = False) -> None:
        """Let a name exist without records."""
        self.add(name, "HINFO", '"a" "b"', secure=secure)

    def remove(self, name: str, kind: str) -> None:
        """Take records away."""
        del self._records[_key(name, kind)]

    def fail(
        self, name: str, kind: str, rcode: dns.rcode.Rcode | None = dns.rcode.SERVFAIL
    ) -> None:
        """Answer with this code; with None, as the records say, again."""
        if rcode is None:
            del self._rcodes[_key(name, kind)]
        else:
            self._rcodes[_key(name, kind)] = rcode

    def silence(self, name: str, kind: str, times: int = 1_000_000) -> None:
        """Leave so many questions without an answer."""
        self._silent[_key(name, kind)] = times

    def cut(self, name: str, kind: str) -> None:
        """Answer by UDP with nothing but the TC bit."""
        self._cut.add(_key(name, kind))

    def babble(self, name: str, kind: str) -> None:
        """Answer with what is no answer."""
        self._garbage.add(_key(name, kind))

    async def __aenter__(self) -> Self:
        self._tcp = await asyncio.start_server(self._serve_tcp, "127.0.0.1", 0)
        self.port = self._tcp.sockets[0].getsockname()[1]
        self._udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Udp(self), local_addr=("127.0.0.1", self.port), family=socket.AF_INET
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._udp.close()
        self._tcp.close()
        for writer in list(self._writers):
            writer.close()
        await self._tcp.wait_closed()

    def answer(self, wire: bytes, *, tcp: bool) -> bytes | None:
        """Return the answer to a question, None for silence."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        key = (question.name, question.rdtype)
        self.asked[
            question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        ] += 1
        self.by_tcp += tcp
        if self._silent.get(key, 0) > 0:
            self._silent[key] -= 1
            return None
        response = dns.message.make_response(query, recursion_available=True)
        if key in self._garbage:
            return response.to_wire()[:4] + b"\xff" * 12
        if key in self._rcodes:
            response.set_rcode(self._rcodes[key])
        elif key in self._cut and not tcp:
            response.flags |= dns.flags.TC
        else:
            self._fill(response, *key, validated=bool(query.ednsflags & dns.flags.DO))
        try:
            return response.to_wire(max_size=65535 if tcp else 1232)
        except dns.exception.TooBig:
            response.answer.clear()
            response.flags |= dns.flags.TC
            return response.to_wire()

    def _fill(
        self,
        response: dns.message.Message,
        name: dns.name.Name,
        kind: dns.rdatatype.RdataType,
        *,
        validated: bool,
    ) -> None:
        secure = validated
        while True:
            secure = secure and name in self._secure
            if found := self._records.get((name, kind)):
                response.answer.append(found)
                break
            if alias := self._records.get((name, dns.rdatatype.CNAME)):
                response.answer.append(alias)
                name = alias[0].target
                continue
            if not any(held == name or held.is_subdomain(name) for held, _ in self._records):
                response.set_rcode(dns.rcode.NXDOMAIN)
            soa = "ns.test. admin.test. 1 3600 600 86400 60"
            response.authority.append(dns.rrset.from_text(name, 60, "IN", "SOA", soa))
            break
        if secure:
            response.flags |= dns.flags.AD

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                answer = self.answer(await reader.readexactly(length), tcp=True)
                if answer is not None:
                    writer.write(struct.pack("!H", len(answer)) + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is none by type

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.answer(data, tcp=False)
        if answer is not None:
            self._transport.sendto(answer, addr)


def _key(name: str, kind: str) -> Key:
    return dns.name.from_text(name), dns.rdatatype.from_text(kind)
