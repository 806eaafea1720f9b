"""The table that `make bench` prints."""

from __future__ import annotations

from typing import Any

from bench.api import show_api
from bench.connections import show_connections
from bench.imap import show_imap
from bench.outbound import show_outbound
from bench.scan import show_scan


def show(results: dict[str, Any]) -> None:
    """Print the measurements; a part that was not requested is left out."""
    machine = results["machine"]
    print(
        f"\n{machine['cores']} cores, Python {machine['python']}, messages of {results['message_octets']} bytes, "
        f"{results['sessions']} sessions, bodies in {results['blobs']}, every acknowledged message synced to disk"
    )
    print(f"local mode ready after {results['ready_after_s']:.1f} s\n")
    for name, title in (
        ("connection_per_message", "a connection per message"),
        ("connections_kept", "connections kept"),
    ):
        if name in results:
            _inbound(results[name], title, results["versions"]["postfix"])
    if half := results.get("readable_at_half_load"):
        print(
            f"From 250 to readable over POP3 at {half['load_per_s']:.0f} messages/s (half load): "
            f"p50 {half['p50_ms']:.0f} ms, p99 {half['p99_ms']:.0f} ms, worst {half['max_ms']:.0f} ms of {half['probes']}\n"
        )
    if connections := results.get("connections"):
        show_connections(connections)
    if outbound := results.get("outbound"):
        show_outbound(outbound, results["versions"]["postfix"])
    if scan := results.get("scan"):
        show_scan(scan)
    if api := results.get("api"):
        show_api(api)
    if pop3 := results.get("pop3"):
        _pop3(pop3, results["versions"]["dovecot"])
    if imap := results.get("imap"):
        show_imap(imap)
    if resident := results.get("resident_mib"):
        idle = results["resident_mib_with_idle"]
        print(
            f"Resident memory, MiB (PSS)     at rest   with {idle['idle_connections']} idle SMTP and POP3 connections each"
        )
        for part in sorted(resident):
            print(f"  {part:<26} {resident[part]:>9.0f}   {idle[part]:>9.0f}")


def _inbound(part: dict[str, Any], title: str, peer: str) -> None:
    ours, theirs = part["posthorn"], part["postfix"]
    print(f"Messages in, {title:<24} {'Posthorn':>10} {peer:>15} {'ratio':>7}")
    for key, label in (("accepted_per_s", "accepted/s"), ("delivered_per_s", "delivered/s")):
        print(
            f"  {label:<34} {ours[key]:>10.0f} {theirs[key]:>15.0f} {ours[key] / theirs[key]:>7.2f}"
        )
    total, peer_total = (
        sum(ours["cpu_ms_per_message"].values()),
        sum(theirs["cpu_ms_per_message"].values()),
    )
    print(
        f"  {'CPU ms per message':<34} {total:>10.2f} {peer_total:>15.2f} {total / peer_total:>7.2f}"
    )
    split = ", ".join(
        f"{name} {value:.2f}" for name, value in sorted(ours["cpu_ms_per_message"].items())
    )
    print(f"    of which {split}")
    print(f"  {'PUTs per message':<34} {ours['puts_per_message']:>10.3f}")
    print(f"  {'transactions per message':<34} {ours['transactions_per_message']:>10.3f}")
    print(
        f"  rounds: {ours['delivered_per_s_all']} beside {theirs['delivered_per_s_all']} delivered/s\n"
    )


def _pop3(part: dict[str, Any], peer: str) -> None:
    ours, theirs = part["posthorn"], part["dovecot"]
    print(
        f"POP3, {part['messages_per_session']} messages a session{'':<11} {'Posthorn':>10} {peer:>15} {'ratio':>7}"
    )
    for key, label in (
        ("sessions_per_s", "logins/s, one after the other"),
        ("one_by_one_messages_per_s", "messages/s, one by one"),
        ("pipelined_messages_per_s", "messages/s, pipelined"),
    ):
        print(
            f"  {label:<34} {ours[key]:>10.0f} {theirs[key]:>15.0f} {ours[key] / theirs[key]:>7.2f}"
        )
        rounds, peers = (
            ", ".join(f"{each:.0f}" for each in side[f"{key}_all"]) for side in (ours, theirs)
        )
        print(f"    rounds: {rounds} beside {peers}")
    print()
