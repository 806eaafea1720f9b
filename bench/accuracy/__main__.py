"""Compare the built-in scorer with others: ``python -m bench.accuracy [--rspamd WORKER CONTROLLER]
[--check]``.

Every second message of the corpus is taught, the others are tested. With ``--check`` it fails if
the built-in scorer misses its target.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.accuracy.corpus import fetch, read
from bench.accuracy.judges import bogofilter, built_in, rspamd

MOST_FALSE = 0.5
"""Per cent of ham that may be taken for spam."""
MOST_MISSED = 8.0
"""Per cent of spam that may be missed."""
_CACHE = Path(".cache/accuracy")
_RSPAMD_LESSONS = 300


def main() -> None:
    """Fetch, teach, test, and print a table."""
    parser = argparse.ArgumentParser(prog="make accuracy")
    parser.add_argument("--rspamd", nargs=2, metavar=("WORKER", "CONTROLLER"), help="URLs")
    parser.add_argument("--check", action="store_true", help="fail if the target is missed")
    parser.add_argument("--names", action="store_true", help="name the messages judged wrongly")
    options = parser.parse_args()
    samples = read(fetch(_CACHE))
    taught, tested = samples[::2], samples[1::2]
    spam = sum(each.is_spam for each in tested)
    ham = len(tested) - spam
    print(f"taught {len(taught)} messages, tested {ham} of ham and {spam} of spam\n")
    results = built_in(taught, tested)
    results += bogofilter(taught, tested, _CACHE / "bogofilter")
    if options.rspamd:
        worker, controller = options.rspamd
        results += rspamd(taught, tested, worker, controller, _RSPAMD_LESSONS)
    print("| judge | false positives | missed | CPU ms per message |\n|---|---|---|---|")
    shares = []
    for result in results:
        false, missed = result.wrong(tested)
        shares.append((100 * len(false) / ham, 100 * len(missed) / spam))
        spent = f"{result.milliseconds:.2f}" if result.milliseconds else ""
        print(f"| {result.judge} | {shares[-1][0]:.2f} % | {shares[-1][1]:.2f} % | {spent} |")
        if options.names and result is results[0]:
            for title, wrong in (("false positive", false), ("missed", missed)):
                print(*(f"{title}: {each.name}" for each in wrong), sep="\n")
    if options.check and (shares[0][0] > MOST_FALSE or shares[0][1] > MOST_MISSED):
        raise SystemExit(f"accuracy: more than {MOST_FALSE} % or {MOST_MISSED} % are wrong")


if __name__ == "__main__":
    main()
