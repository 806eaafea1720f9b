"""Settings of the scanning tier."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from posthorn.runtime.blocklists import BlocklistSettings
from posthorn.runtime.env_settings import Bytes, EnvSettings, Pairs, Seconds
from posthorn.runtime.settings import BlobSettings, NatsSettings, ProcessSettings, server_address
from posthorn.runtime.traces import TraceSettings
from posthorn.wire.address import canonical_domain

Count = Annotated[int, Field(ge=1)]
Domain = Annotated[str, AfterValidator(canonical_domain)]
Limit = Annotated[int, Field(ge=0)] | None
Away = Literal["accept", "hold", "defer"]
"""What happens to messages while an engine is away."""


def _name_server(text: str) -> str:
    server_address(text)
    return text


def _engine_url(text: str | None) -> str | None:
    if text and not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]_-]+(/[^\s?#]*)?", text):
        raise ValueError("must be a URL such as http://rspamd:11333")
    return text.rstrip("/") if text else None


def _engine_address(text: str | None) -> str | None:
    if text and not re.fullmatch(r"unix:/\S+|[^\s/]+:[0-9]{1,5}", text):
        raise ValueError("must be host:port, or unix: and the path of a socket")
    return text or None


class EngineSettings(EnvSettings):
    """rspamd and ClamAV. Each is in use if its address is set."""

    scan_rspamd_url: Annotated[str | None, AfterValidator(_engine_url)] = None
    """URL of rspamd's normal worker, such as ``http://rspamd:11333``; unset: it is not used."""
    scan_rspamd_seconds: Seconds = 6.0
    """How long rspamd may take for a message."""
    scan_rspamd_max_bytes: Bytes = 10 * 1024**2
    """Larger messages are not given to rspamd; the verdict says so."""
    scan_rspamd_away: Away = "accept"
    """While rspamd does not answer: ``accept`` by what the other engines say, ``hold`` the message
    in the unscanned lane, or ``defer`` it with 451."""
    scan_clamav_address: Annotated[str | None, AfterValidator(_engine_address)] = None
    """Where clamd listens: ``host:port`` or ``unix:/path``; unset: it is not used."""
    scan_clamav_seconds: Seconds = 6.0
    """How long ClamAV may take for a message."""
    scan_clamav_max_bytes: Bytes = 25 * 1024**2
    """Larger messages are not given to ClamAV; the verdict says so. At most clamd's own
    StreamMaxLength."""
    scan_clamav_away: Away = "hold"
    """The same for ClamAV, but for messages of text alone, which never wait for it; held messages
    are delivered unscanned after ``delivery_scan_wait_seconds``."""


class DefenceSettings(EnvSettings):
    """Bans of client networks, and greylisting."""

    ORDERED: ClassVar[Pairs] = (("scan_ban_seconds", "scan_ban_longest_seconds"),)

    scan_bans: Literal["off", "moderate", "strict"] = "moderate"
    """Which networks are banned: none; those that harvest addresses or violate the protocol; with
    ``strict`` also those whose messages are refused or that connect very often."""
    scan_ban_unknown_recipients: Limit = None
    """Unknown recipients that one address (of IPv6, one /64) may name within the window; four times
    as many for a /24. Unset: as ``scan_bans`` says; 0: no limit."""
    scan_ban_protocol_errors: Limit = None
    """The same for violations of the protocol."""
    scan_ban_refused: Limit = None
    """The same for messages that were refused by their verdict."""
    scan_ban_connections: Limit = None
    """The same for connections."""
    scan_ban_window_seconds: Annotated[float, Field(ge=60, le=3600)] = 600.0
    """Seconds in which the limits of ``scan_bans`` are counted."""
    scan_ban_seconds: Seconds = 600.0
    """Duration of a network's first ban; each further one within a week lasts twice as long."""
    scan_ban_longest_seconds: Seconds = 86_400.0
    """Duration of a ban at most."""
    scan_greylist_seconds: Annotated[float, Field(ge=1, le=3600)] = 300.0
    """Seconds after which a suspicious stranger may come again, where the policy of the recipient
    asks for greylisting."""


class ScanSettings(
    ProcessSettings,
    NatsSettings,
    BlobSettings,
    BlocklistSettings,
    EngineSettings,
    DefenceSettings,
    TraceSettings,
):
    """All settings of the scanning tier."""

    smtp_hostname: Domain = "localhost"
    """Host name in header fields of messages that were accepted unscanned; smtp-in reads the same
    variable."""
    delivery_scan_wait_seconds: Annotated[float, Field(ge=0)] = 900.0
    """How long a message waits for an engine that is away. Half a minute earlier, or after half of
    it, it goes on with the verdict of the other engines; delivery reads the same variable. 0: it
    waits until it is scanned."""
    scan_dns_servers: tuple[Annotated[str, AfterValidator(_name_server)], ...] = ()
    """Recursive resolvers, ``address`` or ``address:port`` (IPv6 in brackets), as a JSON list;
    unset: the system's. Public resolvers are refused by most blocklists."""
    scan_dns_seconds: Seconds = 2.0
    """Time limit of one DNS question."""
    scan_arc_sealers: tuple[Domain, ...] = ()
    """Domains whose ARC seals are trusted, as a JSON list: a failed DMARC check of a message that
    one of them forwarded is not enforced."""
    scan_authentication_seconds: Seconds = 5.0
    """Time limit of all checks of a message that ask DNS, a third of it for those of the client;
    what is missing then is a temporary error. With the time of an engine and of the blocklists it
    should be less than ``smtp_scan_message_seconds`` of smtp-in."""
    scan_senders: Count = 500
    """Questions about clients that this process works on at a time."""
    scan_messages: Count = 32
    """Messages that this process works on at a time; beyond that it answers that it is busy."""
    scan_memory_bytes: Bytes = 192 * 1024**2
    """Bytes of messages in memory; further ones wait. At least the largest message."""
    scan_cache_seconds: Seconds = 300.0
    """How long it is remembered who a client is."""
