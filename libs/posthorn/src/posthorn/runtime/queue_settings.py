"""What delivery and the API must agree on when they enter messages in the outbound queue."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from posthorn.model.forward_limits import ForwardLimits
from posthorn.runtime.env_settings import EnvSettings, Seconds

Hourly = Annotated[int, Field(ge=0)]


class DelaySettings(EnvSettings):
    """When a sender is told that a message waits; the same for all services."""

    relay_delay_notice_seconds: Annotated[float, Field(ge=0)] = 14_400.0
    """Time in the queue after which the sender gets one delay DSN for a message that waits;
    0: never."""


class ForwardSettings(EnvSettings):
    """Limits of forwards, besides those of domains and tenants (ADR 20). What is beyond them
    waits in the outbound queue."""

    forward_recipients_per_hour: Hourly = 5000
    """Recipients elsewhere of one alias; 0 for no limit."""
    return_reports_per_path_per_hour: Hourly = 5
    """DSNs returned through one rewritten reverse-path; 0 for no limit."""
    return_reports_per_address_per_hour: Hourly = 20
    """DSNs sent back to one address elsewhere; 0 for no limit."""
    return_reports_per_domain_per_hour: Hourly = 200
    """DSNs returned through the rewritten reverse-paths of one domain; 0 for no limit."""
    forward_long_senders_per_hour: Hourly = 1000
    """New senders, too long for SRS, that are stored for one forwarding domain (ADR 27); beyond
    it forwarded messages get the null reverse-path. 0 for no limit."""

    @property
    def forward_limits(self) -> ForwardLimits:
        """The limits."""
        return ForwardLimits(
            self.forward_recipients_per_hour or None,
            self.return_reports_per_path_per_hour or None,
            self.return_reports_per_address_per_hour or None,
            self.return_reports_per_domain_per_hour or None,
            self.forward_long_senders_per_hour or None,
        )


class QueueSettings(DelaySettings, ForwardSettings):
    """All that messages are queued by. Whoever enters recipients in the queue sets when they are
    given up; the relay reads it there."""

    relay_give_up_seconds: Seconds = 432_000.0
    """How long delivery to recipients elsewhere is tried, counted from when they are queued; five
    days (RFC 5321 §4.5.4.1)."""
