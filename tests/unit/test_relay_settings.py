"""Settings of the relay: how long a host has for each reply."""

from __future__ import annotations

from posthorn.runtime.queue_settings import QueueSettings
from posthorn_relay.settings import EgressSettings


def test_a_host_has_the_times_of_rfc_5321_by_default() -> None:
    settings = EgressSettings()
    assert settings.relay_greeting_seconds >= 300  # §4.5.3.2.1 to §4.5.3.2.3
    assert settings.relay_data_seconds >= 120  # §4.5.3.2.4
    assert settings.relay_block_seconds >= 180  # §4.5.3.2.5
    assert settings.relay_end_seconds >= 600  # §4.5.3.2.6
    assert QueueSettings().relay_give_up_seconds >= 4 * 86_400  # §4.5.4.1
