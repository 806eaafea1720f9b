"""What the chart's schema lets through is what the services take, and the other way round."""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helm_python
import pytest
from cryptography import x509
from deploy.helm import patterns
from deploy.helm.settings import CLASSES, variables
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from posthorn.model.networks import parse_network
from posthorn.runtime.env_settings import PREFIX
from posthorn.runtime.settings import ProxySettings, server_address
from posthorn.wire.address import canonical_domain, parse_address
from tests.chart.rendering import render

INIT = Path(__file__).parents[2] / "deploy" / "compose" / "init.sh"


def takes(check: Callable[[str], Any], text: str) -> bool:
    try:
        check(text)
    except ValueError:
        return False
    return True


def matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


def test_every_text_that_a_service_reads_has_a_pattern() -> None:
    by_part = [variables(part) for part in CLASSES]
    texts = {
        name
        for read in by_part
        for name, schema in read.items()
        if "enum" not in json.dumps(schema)
        and ('"string"' in json.dumps(schema) or "$ref" in json.dumps(schema))
    }
    bare = {
        name
        for name in texts
        if not re.search(r"pattern|\$ref", json.dumps([read.get(name) for read in by_part]))
    }
    assert bare == patterns.FREE_TEXTS
    assert set(patterns.OF_SETTINGS) <= texts
    fields = {PREFIX + name.upper() for part in CLASSES.values() for name in part.model_fields}
    assert set(patterns.OF_SETTINGS) | patterns.FREE_TEXTS <= fields


@st.composite
def ipv4_networks(draw: st.DrawFn) -> str:
    """A network or almost one: with a prefix length, a netmask, a host mask, or bits too many."""
    prefix = draw(st.integers(0, 32))
    number = draw(st.integers(0, 2**32 - 1))
    if draw(st.booleans()):
        number &= 2**32 - 2 ** (32 - prefix)
    mask = ipaddress.IPv4Network((0, prefix))
    end = draw(
        st.sampled_from(
            [
                f"/{prefix}",
                f"/0{prefix}",
                f"/{mask.netmask}",
                f"/{mask.hostmask}",
                f"/{prefix + 1}",
                "/",
                "",
            ]
        )
    )
    return f"{ipaddress.IPv4Address(number)}{end}"


@st.composite
def ipv6_networks(draw: st.DrawFn) -> str:
    """A network or almost one, written in any way: zeros in front, the last groups as IPv4, a
    ``::`` anywhere or nowhere."""
    prefix = draw(st.integers(0, 128))
    groups = draw(
        st.lists(st.sampled_from([0, 0, 1, 0xDB8, 0x8000, 0xFFFF, 0xFE80]), min_size=8, max_size=8)
    )
    number = sum(group << 16 * (7 - place) for place, group in enumerate(groups))
    if draw(st.integers(0, 3)):
        number &= 2**128 - 2 ** (128 - prefix)
    octets = number.to_bytes(16)
    written = [
        f"{int.from_bytes(octets[at : at + 2]):0{draw(st.integers(1, 4))}x}"
        for at in range(0, 16, 2)
    ]
    if draw(st.booleans()):
        written[6:] = [str(ipaddress.IPv4Address(octets[12:]))]
    start, end = sorted((draw(st.integers(0, len(written))), draw(st.integers(0, len(written)))))
    zeros = [place for place in range(start, end) if written[place].strip("0.")]
    text = ":".join(written)
    if start < end and not zeros:
        text = f"{':'.join(written[:start])}::{':'.join(written[end:])}"
    if draw(st.integers(0, 20)) == 0:
        text = text.replace("0:", "", 1)
    if draw(st.booleans()):
        text = text.upper()
    return text + draw(
        st.sampled_from(
            [f"/{prefix}", f"/{prefix}", f"/00{prefix}", f"/{prefix - 1}", "/129", "%1/64", ""]
        )
    )


@given(ipv4_networks() | ipv6_networks())
@settings(deadline=None, max_examples=1500)
def test_networks(text: str) -> None:
    assert matches(patterns.NETWORK, text) is takes(parse_network, text), text


@given(st.integers(0, 128), st.integers(0, 2**128 - 1))
@settings(deadline=None)
def test_networks_as_they_are_usually_written(prefix: int, number: int) -> None:
    texts = [
        str(ipaddress.ip_network((number, prefix), strict=False)),
        str(ipaddress.IPv6Address(number)),
    ]
    if prefix <= 32:
        texts += [
            str(ipaddress.ip_network((number >> 96, prefix), strict=False)),
            str(ipaddress.IPv4Address(number >> 96)),
        ]
    for text in texts:
        assert matches(patterns.NETWORK, text)
        assert takes(parse_network, text)


@given(st.text("0123456789abf:./%", max_size=24))
def test_no_other_text_is_a_network(text: str) -> None:
    assert matches(patterns.NETWORK, text) is takes(parse_network, text)


@pytest.mark.parametrize(
    ("network", "is_taken"),
    [
        ("10.0.0.0/255.0.0.0", True),
        ("10.0.0.0/0.255.255.255", True),
        ("192.0.2.1", True),
        ("2001:0db8:0:0:0:0:0:0/32", True),
        ("2001:db8::8/125", True),
        ("::ffff:10.0.0.0/104", True),
        ("10.0.0.1/255.0.0.0", False),
        ("2001:db8::9/125", False),
        ("fe80::%1/64", False),
        ("0.0.0.0/0.0.0.0", False),
        ("0.0.0.0/00", False),
        ("::ffff:0:0/96", False),
        ("0:0:0:0:0:FFFF::/96", False),
        ("::ffff:0.0.0.0/96", False),
        ("0:ffff::/96", True),
    ],
)
def test_networks_of_balancers_are_those_that_the_services_take(
    network: str, is_taken: bool
) -> None:
    assert takes(lambda text: ProxySettings(proxy_networks=text), network) is is_taken  # type: ignore[arg-type]
    values = {"proxyProtocol": {"enabled": True, "networks": [network]}}
    if is_taken:
        assert network in json.dumps(render(values).objects)
    else:
        with pytest.raises(helm_python.HelmError, match="networks"):
            render(values)


@pytest.mark.parametrize(
    ("part", "variable"),
    [("relay", "POSTHORN_RELAY_PRIVATE_NETWORKS"), ("api", "POSTHORN_WEBHOOK_PRIVATE_NETWORKS")],
)
@pytest.mark.parametrize(
    "network", ["10.0.0.0/255.0.0.0", "2001:db8::8/125", "10.0.0.1/8", "fe80::%1/64", "192.0.2.1"]
)
def test_private_networks_are_those_that_the_services_take(
    part: str, variable: str, network: str
) -> None:
    pattern = patterns.OF_SETTINGS[variable]
    assert variables(part)[variable]["items"] == {"$ref": "#/definitions/network"}
    field = variable.removeprefix(PREFIX).lower()
    hint: TypeAdapter[Any] = TypeAdapter(CLASSES[part].model_fields[field].annotation or Any)
    assert matches(pattern, network) is takes(lambda text: hint.validate_python((text,)), network)


@pytest.mark.parametrize(
    ("pattern", "check", "texts"),
    [
        (patterns.HOST, canonical_domain,
         ["mail.example.org", "localhost", "a", "a..b", ".a", "a-", "-a", "a_b", "a b", "x" * 64, "mail.example.org:25", "",
          "a/b"]),
        (patterns.DOMAIN, canonical_domain, ["a.example.", "[192.0.2.1]", "[IPv6:::1]", "[192.0.2.300]", "[x]", "a..b", "a,b"]),
        (patterns.NAME_SERVER, server_address,
         ["192.0.2.1", "192.0.2.1:53", "::1", "[::1]", "[::1]:5353", "192.0.2.300", "ns.example.org", "192.0.2.1:0",
          "192.0.2.1:65536",
          "[::1]:x", "192.0.2.1:65535"]),
        (patterns.MAIL_ADDRESS, parse_address,
         ["a@b.example", "a.b+c@b.example", '"a b"@b.example', "a@[192.0.2.1]", "a", "@b", "a@", "a..b@c", "a@b@c",
          "a b@c", "ü@b.example"]),
    ],
)  # fmt: skip
def test_names_and_addresses(pattern: str, check: Callable[[str], Any], texts: list[str]) -> None:
    assert [text for text in texts if matches(pattern, text)] == [
        text for text in texts if takes(check, text)
    ]


@pytest.mark.parametrize(
    "name",
    ["a..b", ".a", "a.", "-a", "a-", "a.-b", "a-.b", "a b", "a_b", "x" * 64, "a." * 130 + "b", "https://a.example", "ä.example"],
)  # fmt: skip
def test_compose_takes_no_name_that_is_none(tmp_path: Path, name: str) -> None:
    script = tmp_path / "deploy/compose/init.sh"
    script.parent.mkdir(parents=True)
    shutil.copy(INIT, script)
    refused = subprocess.run(["sh", str(script), name], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stderr.startswith("init.sh: not a host name")) == (2, True)
    assert not (tmp_path / ".env").exists()


@pytest.mark.parametrize(
    "name",
    ["mail.example.test", "a", "a-b.c--d.example", "x" * 50 + ".example", "MAIL.example.org", "x" * 60 + ".example.org",
     f"{'x' * 63}.{'y' * 63}.{'z' * 63}.{'w' * 61}"],
)  # fmt: skip
def test_compose_takes_names_that_are_some(tmp_path: Path, name: str) -> None:
    script = tmp_path / "deploy/compose/init.sh"
    script.parent.mkdir(parents=True)
    shutil.copy(INIT, script)
    subprocess.run(["sh", str(script), name], capture_output=True, check=True)
    assert f"POSTHORN_HOSTNAME={name}\n" in (tmp_path / ".env").read_text()
    certificate = x509.load_pem_x509_certificate(
        (tmp_path / "deploy/compose/private/tls/tls.crt").read_bytes()
    )
    named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert named.get_values_for_type(x509.DNSName) == [name, "localhost"]
