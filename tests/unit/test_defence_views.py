"""The state of the tier on its way from scan to a reader: payloads, addresses, the doctor."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.adapters.nats.scan_payloads import PayloadError
from posthorn.adapters.nats.scan_state import (
    MOST_NAMES,
    decode_question,
    decode_state,
    encode_question,
    encode_state,
)
from posthorn.ports.scan import EngineStatus, Listing, ScanState, StateQuestion, ZoneStatus
from posthorn_api.defence.service import single_addresses
from posthorn_cli.client import ApiError
from posthorn_cli.defence_checks import defence_findings
from posthorn_cli.filter_probes import _judged, _verdict
from posthorn_cli.probes import FAIL, OK, UNKNOWN, WARN


def test_payloads_come_back_as_they_were() -> None:
    question = StateQuestion(("192.0.2.1",), ("example.org",))
    assert decode_question(encode_question(question)) == question
    state = ScanState(
        (EngineStatus("rspamd", False, "ConnectionRefusedError"),),
        (ZoneStatus("bl.test", True),),
        True,
        (Listing("bl.test", "192.0.2.1", "127.0.0.2", 3.0, "see"),),
    )
    assert decode_state(encode_state(state)) == state
    many = StateQuestion(domains=tuple(f"d{number}.test" for number in range(MOST_NAMES + 9)))
    assert len(decode_question(encode_question(many)).domains) == MOST_NAMES


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'{"busy":true}', b'{"state":[1]}'])
def test_what_is_no_answer_is_refused(payload: bytes) -> None:
    with pytest.raises(PayloadError):
        decode_state(payload)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_no_payload_raises_anything_else(payload: bytes) -> None:
    for decode in (decode_state, decode_question):
        try:
            decode(payload)
        except PayloadError:
            continue


def test_addresses_of_small_networks_are_watched_and_of_large_ones_not() -> None:
    found = single_addresses(["192.0.2.1", "198.51.100.0/30", "203.0.113.0/24", "2001:db8::1"])
    assert found == (
        "192.0.2.1",
        *(f"198.51.100.{last}" for last in range(4)),
        "2001:db8::1",
    )


class Answers:
    """The API client, as the doctor uses it."""

    def __init__(self, state: dict[str, Any] | Exception, listings: dict[str, Any]) -> None:
        self._state, self._listings = state, listings
        self.api = self

    def get_defence(self) -> dict[str, Any]:
        if isinstance(self._state, Exception):
            raise self._state
        return self._state

    def get_listings(self) -> dict[str, Any]:
        return self._listings


def findings(state: dict[str, Any] | Exception, listings: dict[str, Any]) -> dict[str, str]:
    session: Any = Answers(state, listings)
    return {each.check: each.status for each in defence_findings(session)}


STATE = {
    "scanning": True,
    "detail": "",
    "resolver_up": True,
    "unscanned": 0,
    "engines": [{"name": "clamav", "up": False, "detail": "TimeoutError"}],
    "zones": [
        {"zone": "bl.test", "healthy": True, "detail": ""},
        {"zone": "gone.test", "healthy": False, "detail": "does not answer"},
    ],
}
NONE = {"addresses": ["192.0.2.1"], "domains": [], "zones": [], "listings": []}


def test_the_doctor_looks_at_engines_zones_and_our_own_listings() -> None:
    assert findings(STATE, NONE) == {
        "scan": OK,
        "resolver of scan": OK,
        "clamav": FAIL,
        "blocklist bl.test": OK,
        "blocklist gone.test": WARN,
        "own listings": OK,
    }
    listing = {"subject": "192.0.2.1", "zone": "bl.test", "code": "127.0.0.2", "reason": "x"}
    found = findings(
        {**STATE, "resolver_up": False, "unscanned": 3}, {**NONE, "listings": [listing]}
    )
    assert found["192.0.2.1 on bl.test"] == FAIL
    assert found["resolver of scan"] == FAIL
    assert found["scan"] == WARN


def test_the_doctor_says_that_mail_passes_unscanned() -> None:
    assert findings({**STATE, "scanning": False, "detail": "nobody scans"}, NONE) == {"scan": WARN}
    forbidden = ApiError(403, "forbidden", "Forbidden", "")
    assert findings(forbidden, NONE) == {"defence": UNKNOWN}


@pytest.mark.parametrize(
    ("name", "detail", "status"),
    [
        ("GTUBE", {"score": 10, "rules": [["GTUBE", 10.0, ""]]}, OK),
        ("GTUBE", {"score": 0, "rules": []}, FAIL),
        ("EICAR", {"virus": "Eicar-Test-Signature"}, OK),
        ("EICAR", {"engines": [["builtin", "ok", 3, ""]]}, WARN),
        ("EICAR", {"engines": [["clamav", "down", 0, "away"]]}, FAIL),
    ],
)
def test_what_the_doctor_makes_of_a_verdict(name: str, detail: dict[str, Any], status: str) -> None:
    assert _verdict("check", name, detail).status == status


@pytest.mark.parametrize(
    ("end", "status", "says"),
    [
        ([{"kind": "filed", "detail": {"action": "junk"}}], OK, "in Junk"),
        ([{"kind": "filed", "detail": {"action": "mark"}}], OK, "in INBOX, marked"),
        ([{"kind": "quarantined", "detail": {}}], OK, "in quarantine"),
        ([{"kind": "delivered", "detail": {}}], WARN, "see the filter policy"),
        ([], WARN, "it is not delivered"),
    ],
)
def test_the_doctor_follows_gtube_to_its_end(
    end: list[dict[str, Any]], status: str, says: str
) -> None:
    scanned = {"kind": "scanned", "detail": {"score": 10, "rules": [["GTUBE", 10.0, ""]]}}
    api = SimpleNamespace(trace_message=lambda _: {"items": [scanned, *end]})
    session: Any = SimpleNamespace(api=api)
    found = _judged(session, "check", "GTUBE", "id", 0.0)
    assert (found.status, says in found.detail) == (status, True)
