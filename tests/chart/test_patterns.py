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

import pytest
from deploy.helm import patterns
from deploy.helm.schema import CLASSES, variables
from hypothesis import given, settings
from hypothesis import strategies as st

from posthorn.runtime.settings import PREFIX, server_address
from posthorn.wire.address import canonical_domain, parse_address

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
    texts = {
        name
        for part in CLASSES
        for name, schema in variables(part).items()
        if "enum" not in json.dumps(schema) and ('"string"' in json.dumps(schema) or "$ref" in json.dumps(schema))
    }
    bare = {name for name in texts if "pattern" not in json.dumps([variables(part).get(name) for part in CLASSES])}
    bare = {name for name in bare if "$ref" not in json.dumps([variables(part).get(name) for part in CLASSES])}
    assert bare == patterns.FREE_TEXTS
    assert set(patterns.OF_SETTINGS) <= texts
    fields = {PREFIX + name.upper() for part in CLASSES.values() for name in part.model_fields}
    assert set(patterns.OF_SETTINGS) | patterns.FREE_TEXTS <= fields


@given(st.integers(0, 2**32 - 1), st.integers(0, 32))
@settings(deadline=None)
def test_ipv4_networks(number: int, prefix: int) -> None:
    text = f"{ipaddress.IPv4Address(number)}/{prefix}"
    assert matches(patterns.NETWORK, text) is takes(ipaddress.ip_network, text)
    whole = str(ipaddress.ip_network(text, strict=False))
    assert matches(patterns.NETWORK, whole)
    assert matches(patterns.SOURCE, text.partition("/")[0])


@given(st.lists(st.sampled_from([0, 0, 1, 0xDB8, 0x8000, 0xFFFF, 0xFE80]), min_size=8, max_size=8), st.integers(0, 128))
@settings(deadline=None)
def test_ipv6_networks(groups: list[int], prefix: int) -> None:
    number = sum(group << 16 * (7 - place) for place, group in enumerate(groups))
    address = ipaddress.IPv6Address(number)
    for text in (str(address), address.exploded, str(address).upper()):
        assert matches(patterns.SOURCE, text)
        assert not takes(ipaddress.ip_network, f"{text}/{prefix}") or matches(patterns.NETWORK, f"{text}/{prefix}")
        if str(address).endswith("::"):
            assert matches(patterns.NETWORK, f"{address}/{prefix}") is takes(
                ipaddress.ip_network, f"{address}/{prefix}"
            )
    assert matches(patterns.NETWORK, str(ipaddress.ip_network(f"{address}/{prefix}", strict=False)))


@given(st.text("0123456789abf:./", max_size=24))
def test_no_other_text_is_an_address(text: str) -> None:
    if matches(patterns.SOURCE, text):
        assert takes(ipaddress.ip_interface, text)
    elif "/" not in text:
        assert not takes(ipaddress.ip_address, text)


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
    assert [text for text in texts if matches(pattern, text)] == [text for text in texts if takes(check, text)]


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
    "name", ["mail.example.test", "a", "a-b.c--d.example", "x" * 50 + ".example", "MAIL.example.org"]
)
def test_compose_takes_names_that_are_some(tmp_path: Path, name: str) -> None:
    script = tmp_path / "deploy/compose/init.sh"
    script.parent.mkdir(parents=True)
    shutil.copy(INIT, script)
    subprocess.run(["sh", str(script), name], capture_output=True, check=True)
    assert f"POSTHORN_HOSTNAME={name}\n" in (tmp_path / ".env").read_text()
