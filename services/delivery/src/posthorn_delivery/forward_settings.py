"""How much may be forwarded by aliases, and sent back to the senders of what was forwarded."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from posthorn.model.forward_limits import ForwardLimits
from posthorn.runtime.settings import EnvSettings

Hourly = Annotated[int, Field(ge=0)]


class ForwardSettings(EnvSettings):
    """Limits of forwards, besides those of domains and tenants (ADR 20). What is beyond them waits in the outbound queue."""

    forward_recipients_per_hour: Hourly = 5000
    """Recipients elsewhere that one alias makes; 0 for no limit."""
    return_reports_per_path_per_hour: Hourly = 5
    """Reports that come back to one rewritten reverse-path; 0 for no limit."""
    return_reports_per_address_per_hour: Hourly = 20
    """Reports that are sent back to one address elsewhere; 0 for no limit."""
    return_reports_per_domain_per_hour: Hourly = 200
    """Reports that come back to rewritten reverse-paths of one domain; 0 for no limit."""
    forward_long_senders_per_hour: Hourly = 1000
    """Senders too long for a rewritten reverse-path that are stored for one domain whose aliases forward (ADR 27); what is beyond
    leaves under the null reverse-path. 0 for no limit."""

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
