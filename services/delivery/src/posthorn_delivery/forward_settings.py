"""Limits of forwarding by aliases, and of DSNs to the senders of forwarded messages."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from posthorn.model.forward_limits import ForwardLimits
from posthorn.runtime.env_settings import EnvSettings

Hourly = Annotated[int, Field(ge=0)]


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
