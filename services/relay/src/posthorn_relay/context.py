"""What the relay is given, and what all of its workers share."""

from __future__ import annotations

from dataclasses import dataclass, field

from posthorn.ports.bodies import BodyReader
from posthorn.ports.events import Events
from posthorn.ports.hand_over import HandedClaims, Offers
from posthorn.ports.notifications import Notifications
from posthorn.ports.queue import Queue
from posthorn.ports.sending import Throttle
from posthorn_relay.liveness import Liveness
from posthorn_relay.outcomes import OutcomePolicy
from posthorn_relay.recorder import OutcomeRecorder
from posthorn_relay.settings import RelaySettings
from posthorn_relay.smtp.pool import ConnectionPool
from posthorn_relay.smtp.types import Connector, Planner
from posthorn_relay.tls_tally import TlsTally


@dataclass(frozen=True, slots=True)
class RelayPorts:
    """The ports that the relay works with."""

    queue: Queue
    planner: Planner
    connector: Connector
    bodies: BodyReader
    notifications: Notifications
    events: Events
    throttle: Throttle | None = None
    """Counts DSNs to senders who did not authenticate."""
    tls_tally: TlsTally = field(default_factory=TlsTally)
    offers: Offers | None = None
    """Where hand-overs are offered to be taken and heard of; None: none are taken."""
    handed: HandedClaims | None = None
    """What the queue knows of hand-overs."""


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What the workers of a relay share."""

    ports: RelayPorts
    settings: RelaySettings
    pool: ConnectionPool
    policy: OutcomePolicy
    recorder: OutcomeRecorder
    liveness: Liveness
