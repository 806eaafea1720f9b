"""Which addresses may be connected to, and which ones are this machine."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from posthorn.model.ip_addresses import (
    PUBLIC_ADDRESSES,
    AddressPolicy,
    is_loopback,
    is_this_machine,
)
from posthorn_relay.routing.addresses import HostAddresses
from posthorn_relay.settings import EgressSettings


@pytest.mark.parametrize(
    ("host", "loopback", "this_machine"),
    [
        ("127.0.0.1", True, True),
        ("127.8.8.8", True, True),
        ("::1", True, True),
        ("::ffff:127.0.0.1", True, True),
        ("[::1]", False, True),
        ("localhost", False, True),
        ("", False, False),
        ("10.0.0.1", False, False),
        ("::ffff:10.0.0.1", False, False),
        ("fe80::1", False, False),
        ("[10.0.0.1]", False, False),
        ("localhost.example.test", False, False),
        ("/tmp/socket", False, False),
    ],
)
def test_loopback_addresses_and_names_of_this_machine(
    host: str, loopback: bool, this_machine: bool
) -> None:
    assert (is_loopback(host), is_this_machine(host)) == (loopback, this_machine)


def test_exceptions_are_judged_by_the_ipv4_address_within() -> None:
    policy = AddressPolicy(
        (ip_network("10.0.0.0/8"),), (ip_network("10.1.0.0/16"), ip_network("8.8.8.0/24"))
    )
    for address in ("10.2.3.4", "::ffff:10.2.3.4", "64:ff9b::10.2.3.4", "1.1.1.1"):
        assert policy.allows(address), address
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::8.8.8.8", "192.168.1.1", "8.8.8.8"):
        assert not policy.allows(address), address
    assert not PUBLIC_ADDRESSES.allows("10.2.3.4")


@pytest.mark.parametrize("loopback", [False, True])
def test_no_named_network_opens_an_address_of_this_machine_to_mail(loopback: bool) -> None:
    everything = {
        "relay_hostname": "out.example.test",
        "relay_private_networks": ["0.0.0.0/0", "::/0"],
    }
    policy = HostAddresses.from_settings(
        EgressSettings.model_validate({**everything, "relay_loopback": loopback})
    ).policy
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1"):
        assert policy.allows(address) is loopback, address
    for address in (
        "0.0.0.0",
        "::",
        "0.1.2.3",
        "169.254.169.254",
        "fe80::1",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
    ):
        assert not policy.allows(address), address
    for address in ("10.1.2.3", "fc00::1", "192.0.2.1", "2001:db8::1", "8.8.8.8"):
        assert policy.allows(address), address
