"""What scanning costs: the same signed messages into systems that scan and one that does not.

DNS is a real unbound on this machine with the sender's records, so that SPF, DKIM and DMARC pass;
look-ups are cached as they are for a sender who is heard of often.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support.defence import clamd, rspamd
from tests.support.dns_servers import recursive_resolver
from tests.support.signing import record, rsa_key, signature_field

from bench.load import MESSAGE, smtp_source
from bench.peers import have, need
from bench.system import System

DOMAIN = "bench.example.net"
RECIPIENT = "alice@example.test"


def signed_message(directory: Path) -> Path:
    """Write a message of about 4 KiB that is signed by its author's domain; return the file."""
    header = (
        f"From: Sender <sender@{DOMAIN}>\r\nTo: {RECIPIENT}\r\nSubject: a message of the benchmark\r\n"
        f"Date: Sun, 29 Nov 2026 10:00:00 +0000\r\nMessage-ID: <bench@{DOMAIN}>\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
    ).encode()
    line = b"The quick brown fox jumps over the lazy dog, and the dog does not mind it.\r\n"
    body = line * (MESSAGE // len(line))
    field = signature_field(
        "DKIM-Signature", header, body, {"d": DOMAIN, "s": "bench"}, key=rsa_key(2048)
    )
    path = directory / "message.eml"
    # smtp-source ends the lines itself
    path.write_bytes((field + header + b"\r\n" + body).replace(b"\r\n", b"\n"))
    return path


def zone() -> list[str]:
    """Return the sender's records."""
    key = record(rsa_key(2048)).decode()
    strings = " ".join(f'"{key[start : start + 200]}"' for start in range(0, len(key), 200))
    return [
        f'{DOMAIN}. TXT "v=spf1 ip4:127.0.0.0/8 -all"',
        f"{DOMAIN}. A 127.0.0.1",
        f'_dmarc.{DOMAIN}. TXT "v=DMARC1; p=reject"',
        f"bench._domainkey.{DOMAIN}. TXT {strings}",
        f"1.0.0.127.in-addr.arpa. PTR {DOMAIN}.",
    ]


def measure_scan(results: dict[str, Any], directory: Path, messages: int, rounds: int) -> None:
    """Measure rounds into each system in turn, and keep the median of each."""
    need("unbound", "unbound")
    with ExitStack() as stack:
        message = signed_message(directory)
        resolver = stack.enter_context(recursive_resolver(directory / "dns", zone()))
        on = {"POSTHORN_SMTP_SCAN": "true", "POSTHORN_SCAN_DNS_SERVERS": f'["{resolver}"]'}
        environments = {"off": {"POSTHORN_SMTP_SCAN": "false"}, "built-in": on}
        if have("clamd") and have("rspamd"):
            # one engine at a time: rspamd costs much more
            scanner = stack.enter_context(clamd(directory / "clamd"))
            filters = stack.enter_context(rspamd(_made(directory / "rspamd"), resolver))
            environments["ClamAV"] = on | {"POSTHORN_SCAN_CLAMAV_ADDRESS": scanner.address}
            environments["rspamd"] = on | {
                "POSTHORN_SCAN_RSPAMD_URL": f"http://{filters.address}",
                "POSTHORN_SCAN_RSPAMD_SECONDS": "30",
            }
        found = {
            name: _measured(directory / f"scan-{name}", environment, message, messages, rounds)
            for name, environment in environments.items()
        }
    results["scan"] = found


def _measured(
    home: Path, environment: dict[str, str], message: Path, messages: int, rounds: int
) -> dict[str, Any]:
    system = System(home, environment)
    system.start()
    try:
        count = messages if "POSTHORN_SCAN_RSPAMD_URL" not in environment else messages // 10
        _round(system, message, min(300, count))  # warm
        found = sorted(
            (_round(system, message, count) for _ in range(rounds)),
            key=lambda one: float(one["delivered_per_s"]),
        )
        return found[len(found) // 2]
    finally:
        system.stop()


def _round(system: System, message: Path, messages: int) -> dict[str, Any]:
    before, costs = system.delivered(), system.costs()
    judged = system.counter("scan", "posthorn_scan_messages_total")
    began = time.monotonic()
    smtp_source(system.smtp, messages, RECIPIENT, kept=True, file=message)
    while system.delivered() < before + messages:
        time.sleep(0.02)
    took = time.monotonic() - began
    after = system.costs()
    return {
        "messages": messages,
        "delivered_per_s": messages / took,
        "judged": system.counter("scan", "posthorn_scan_messages_total") - judged,
        "cpu_ms_per_message": {
            name: 1000 * (after[name].cpu - costs[name].cpu) / messages for name in after
        },
    }


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def show_scan(found: dict[str, Any]) -> None:
    """Print the table."""
    base = found["off"]["delivered_per_s"]
    print(
        f"{'Scanning (signed messages, kept)':<34} {'delivered/s':>12} {'of off':>8}"
        f" {'smtp-in ms':>11} {'scan ms':>8} {'all ms':>7}"
    )
    for name, one in found.items():
        cpu = one["cpu_ms_per_message"]
        print(
            f"  {name:<32} {one['delivered_per_s']:>12.0f} {one['delivered_per_s'] / base:>8.2f}"
            f" {cpu['smtp-in']:>11.2f} {cpu['scan']:>8.2f} {sum(cpu.values()):>7.2f}"
            + ("" if one["judged"] or name == "off" else "   (nothing was judged)")
        )
    print()
