"""Write the figures of docs/scale.md: `python -m bench.scale_page [results.json | --newest]`.

The page's tables stand between `<!-- figures: NAME -->` and `<!-- end -->`, and are made of
`bench/figures/scale.json`. With the results of a run the file is replaced first.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.capacity import GIB, KIB, MIB, TIB, Assumptions, Capacity, Need
from bench.scale import INBOUND, by_transaction, rise, spread

FIGURES = Path(__file__).parent / "figures" / "scale.json"
PAGE = Path(__file__).parent.parent / "docs" / "scale.md"
VOLUMES = (10_000_000, 100_000_000, 1_000_000_000)
"""Messages a day."""
_BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float) -> str:
    """Return a number with two significant digits, or all digits before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.2g}"


def size(value: float) -> str:
    """Return bytes in the unit that suits."""
    for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if value >= unit:
            return f"{number(value / unit)} {name}"
    return f"{value:,.0f} bytes"


def _run(figures: Mapping[str, Any]) -> str:
    machine, scale = figures["machine"], figures["scale"]
    noise = max(
        max(step["cpu_ms_of_rounds"]) / min(step["cpu_ms_of_rounds"]) - 1 for step in scale["steps"]
    )
    return (
        f"Measured on {figures['date'][:10]} with {machine['cores']} cores, Python {machine['python']},"
        f" {machine['system'].split('-with-')[0]}, bodies in {_store(figures['blobs'])}, {scale['rounds']}"
        f" round{'s' * (scale['rounds'] > 1)} of each step; the same step differed by up to"
        f" {noise:.0%} between rounds. {_quiet(scale['load_average'], machine['cores'])}"
    )


def _quiet(load: float, cores: int) -> str:
    return (
        f"**The machine was busy with other work** (load average {load:.0f} before the run): rates and"
        " ceilings are far below those of a quiet one."
        if load > cores / 2
        else f"Load average before the run: {load:.1f}."
    )


def _store(blobs: str) -> str:
    return "S3" if blobs == "s3" else "a local directory"


_PROCESSES = ("smtp-in processes", "delivery processes")
_COSTS = (*INBOUND, "all")
_SIZES = ("messages in a frame", "in a transaction", "client's share of cores")


def _costs(step: Mapping[str, Any], summed: Iterable[str]) -> list[str]:
    """Return the cells of ``_COSTS``; ``summed``: the parts that "all" adds up."""
    cpu = step["cpu_ms_per_message"]
    return [*(f"{cpu[part]:.3f}" for part in INBOUND), f"{sum(cpu[part] for part in summed):.2f}"]


def _sizes(step: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the cells of ``_SIZES``."""
    return (
        f"{1 / step['stream_messages_per_message']:.1f}",
        f"{1 / step['transactions_per_message']:.1f}",
        f"{step['client_share_of_cores']:.0%}",
    )


def _steps(figures: Mapping[str, Any]) -> str:
    scale = figures["scale"]
    rows = [
        [
            *(str(step[part]) for part in ("smtp_in", "delivery")),
            *_costs(step, step["cpu_ms_per_message"]),
            *_sizes(step),
        ]
        for step in scale["steps"]
    ]
    head = [*_PROCESSES, *_COSTS, *_SIZES]
    by_smtp_in = [step for step in scale["steps"] if step["delivery"] == 1]
    by_delivery = [step for step in scale["steps"] if step["smtp_in"] == 4]
    message, transaction, off = by_transaction(scale["steps"])
    large, out = scale["large"]["cpu_ms_per_message"], scale["out"]["cpu_ms_per_message"]
    return (
        f"{table(head, rows)}\n\nFrom 1 to 8 smtp-in processes the dearest step is"
        f" {spread(by_smtp_in):.0%} above the cheapest, from 1 to 4 delivery processes"
        f" {spread(by_delivery):.0%}; the target is 10 %. Delivery and Postgres together take"
        f" {message:.2f} ms for a message and {transaction:.1f} ms for a transaction, whatever the number"
        f" of processes: the steps are within {off:.0%} of that. A message of"
        f" {scale['large_bytes'] // 1024} KiB costs {sum(large.values()):.2f} ms in all, of which"
        f" smtp-in {large['smtp-in']:.2f}; one from submission to a sink {sum(out.values()):.2f} ms,"
        f" of which submission {out['submission']:.2f}, relay {out['relay']:.2f}, delivery"
        f" {out['delivery']:.2f}, nats {out['nats']:.2f}, postgres {out['postgres']:.2f}."
    )


def _growing(figures: Mapping[str, Any]) -> str:
    grown = figures["scale"].get("growing")
    if grown is None:
        return "Not measured in this run."
    rows = [
        [
            *(str(step[part]) for part in ("smtp_in", "delivery")),
            number(step["delivered_per_s"]),
            *_costs(step, INBOUND),
            *_sizes(step),
        ]
        for steps in grown.values()
        for step in steps
    ]
    head = [*_PROCESSES, "messages/s", *_COSTS, *_SIZES]
    by_smtp_in, by_delivery = (rise(grown[part], part) for part in ("smtp_in", "delivery"))
    rates = [steps[0]["rate_per_process"] for steps in grown.values()]
    return (
        f"{table(head, rows)}\n\nEach smtp-in process has {rates[0]} messages/s in the first rows and"
        f" {rates[1]} in the others. From 1 to 8 smtp-in processes the dearest step is {by_smtp_in:.0%}"
        " above the first, in smtp-in or in all parts together, whichever rose more; from 1 to 4 of"
        f" smtp-in and of delivery {by_delivery:.0%}, in delivery and Postgres or in all. The target is"
        " 10 %."
    )


def _partitions(figures: Mapping[str, Any]) -> str:
    steps = figures["scale"].get("partitions")
    if steps is None:
        return "Not measured in this run."
    rows = [
        [
            str(step["partitions"]),
            number(step["accepted_per_s"]),
            number(step["delivered_per_s"]),
            *_costs(step, step["cpu_ms_per_message"]),
            frame,
            client,
        ]
        for step in steps
        for frame, _, client in [_sizes(step)]
    ]
    head = ["partitions", "accepted/s", "delivered/s", *_COSTS, _SIZES[0], _SIZES[2]]
    return (
        f"{table(head, rows)}\n\nFrom {steps[0]['partitions']} to {steps[-1]['partitions']} partitions"
        f" the dearest step is {spread(steps):.0%} above the cheapest."
    )


def _nats(figures: Mapping[str, Any]) -> str:
    rows = [
        [
            str(row["streams"]),
            str(row["messages_per_stream_message"]),
            number(row["stream_messages_per_s"]),
            number(row["messages_per_s"]),
            size(row["bytes_per_s"]),
            f"{row['server_cores']:.2f}",
            f"{row['client_share_of_cores']:.0%}",
        ]
        for row in figures["scale"]["nats"]
    ]
    head = [
        "streams",
        "messages in a frame",
        "publishes/s",
        "messages/s",
        "bytes/s",
        "server's cores",
        "client's share of cores",
    ]
    frame = figures["scale"]["nats"][-1]["messages_per_stream_message"]
    same = [row for row in figures["scale"]["nats"] if row["messages_per_stream_message"] == frame]
    gain = same[-1]["stream_messages_per_s"] / same[0]["stream_messages_per_s"]
    return (
        f"{table(head, rows)}\n\nWith"
        f" {frame} messages in a frame, {same[-1]['streams']} streams take {gain:.1f} times the publishes of"
        f" {same[0]['streams']}."
    )


def _postgres(figures: Mapping[str, Any]) -> str:
    rows = [
        [
            str(row["messages_per_transaction"]),
            number(row["deliveries_per_s"]),
            number(row["commits_per_s"]),
            size(row["wal_bytes_per_s"]),
            number(row["wal_bytes_per_message"]),
            number(row["stored_bytes_per_message"]),
            f"{row['server_cpu_ms_per_message']:.3f}",
            f"{row['client_share_of_cores']:.0%}",
        ]
        for row in figures["scale"]["postgres"]
    ]
    head = [
        "messages in a transaction",
        "deliveries/s",
        "commits/s",
        "WAL/s",
        "WAL bytes per message",
        "stored bytes per message",
        "CPU ms per message",
        "client's share of cores",
    ]
    return table(head, rows)


def _assumptions(figures: Mapping[str, Any]) -> str:
    del figures
    assumed = Assumptions()
    rows = [
        ["busiest minutes, over the mean of the day", f"{assumed.peak_factor:g} times"],
        ["part of a core, stream or store that the peak takes", f"{assumed.use:.0%}"],
        ["messages to other hosts", f"{assumed.share_out:.0%} of all"],
        ["mean size of a message", f"{assumed.message_bytes // 1024} KiB"],
        ["messages are kept", f"{assumed.kept_days} days"],
        ["servers of the NATS cluster, each with all streams", str(assumed.nats_replicas)],
        ["largest primary of Postgres", f"{assumed.postgres_cores} cores"],
        ["WAL that its disk and standbys take", f"{size(assumed.postgres_wal_bytes_per_s)}/s"],
        ["PUTs that the object store takes under one prefix", f"{assumed.s3_puts_per_s:,.0f}/s"],
    ]
    return table(["assumed", "value"], rows)


def _needs(figures: Mapping[str, Any]) -> str:
    capacity = Capacity(figures["scale"])
    needs = [capacity.need(volume) for volume in VOLUMES]

    def row(name: str, shown: Callable[[Need], str]) -> list[str]:
        return [name, *(shown(need) for need in needs)]

    rows = [
        row("messages/s, mean; peak", lambda n: f"{number(n.mean_per_s)}; {number(n.peak_per_s)}"),
        *(
            [f"{service}, processes of one core", *(f"{need.pods[service]:,}" for need in needs)]
            for service in needs[0].pods
        ),
        row("NATS: cores of each server", lambda n: number(n.nats_cores)),
        row(
            "NATS: publishes/s; bytes/s into each server",
            lambda n: f"{number(n.nats_publishes_per_s)}; {size(n.nats_bytes_per_s)}",
        ),
        row("NATS: partitions of INGEST", lambda n: f"{n.streams:,}"),
        row("Postgres: cores", lambda n: number(n.postgres_cores)),
        row("Postgres: commits/s of delivery", lambda n: number(n.commits_per_s)),
        row(
            "Postgres: WAL/s; a day",
            lambda n: f"{size(n.wal_bytes_per_s)}; {size(n.wal_bytes_per_day)}",
        ),
        row("Postgres: tables and indexes", lambda n: size(n.rows_bytes_kept)),
        row("object store: PUTs/s", lambda n: number(n.puts_per_s)),
        row(
            "object store: bytes a day; kept",
            lambda n: f"{size(n.objects_bytes_per_day)}; {size(n.objects_bytes_kept)}",
        ),
        row(
            "network, all transfers together",
            lambda n: f"{number(n.network_bytes_per_s * 8 / 1e9)} Gbit/s",
        ),
    ]
    return table(["", *(f"{volume // 1_000_000:,} million a day" for volume in VOLUMES)], rows)


def _limits(figures: Mapping[str, Any]) -> str:
    limits = Capacity(figures["scale"]).limits()
    rows = [
        [limit.name, f"{number(limit.per_day / 1e6)} million", limit.beyond] for limit in limits
    ]
    first = limits[0]
    return (
        f"The first limit is {first.name}: {number(first.per_day / 1e6)} million messages a day.\n\n"
        f"{table(['used up', 'messages a day', 'beyond'], rows)}"
    )


BLOCKS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "run": _run,
    "steps": _steps,
    "growing": _growing,
    "nats": _nats,
    "partitions": _partitions,
    "postgres": _postgres,
    "assumptions": _assumptions,
    "needs": _needs,
    "limits": _limits,
}


def page_with(page: str, figures: Mapping[str, Any]) -> str:
    """Return the page with these figures. Raises KeyError for a block that is not known."""
    return filled(page, figures, BLOCKS)


def filled(
    page: str, figures: Mapping[str, Any], blocks: Mapping[str, Callable[[Mapping[str, Any]], str]]
) -> str:
    """Return a page with what ``blocks`` make of the figures, between its marks. Raises KeyError for
    a block that is not known."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{blocks[found[2]](figures)}\n\n{found[3]}", page)


def figures_of(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page needs of the results of a run. Raises KeyError if it did not measure
    scale."""
    return {name: results[name] for name in ("date", "machine", "blobs", "scale")}


def main() -> None:
    """Renew the page."""
    options = argparse.ArgumentParser(prog="bench.scale_page", description=__doc__)
    options.add_argument("results", nargs="?", type=Path, help="results of a run to take")
    options.add_argument("--newest", action="store_true", help="take the newest that has scale")
    asked = options.parse_args()
    path: Path | None = asked.results
    if asked.newest:
        made = sorted((Path(__file__).parent / "results").glob("*.json"))
        path = next(each for each in reversed(made) if "scale" in json.loads(each.read_text()))
    if path is not None:
        FIGURES.parent.mkdir(exist_ok=True)
        FIGURES.write_text(json.dumps(figures_of(json.loads(path.read_text())), indent=2) + "\n")
    PAGE.write_text(page_with(PAGE.read_text(), json.loads(FIGURES.read_text())))


if __name__ == "__main__":
    main()
