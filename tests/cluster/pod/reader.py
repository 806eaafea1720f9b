"""Runs in the sender's pod at the end: reads every mailbox back through the API, and prints what is
there as one JSON object.

``found``: how often each message is there, by number; ``altered``: numbers of messages whose octets
are not those that were sent.
"""

from __future__ import annotations

import json
import re
import sys
import time
import urllib.request
from collections import Counter

sys.path.insert(0, "/load")

from sender import ADDRESSES, HOSTS, KEY, content  # type: ignore[import-not-found]  # beside it in the pod

_SEPARATOR = re.compile(rb"^From [^\n]*\n", re.MULTILINE)


def export(address: str) -> bytes:
    """The account's mail as mbox (mboxrd), asked for again while a part of the system does not
    answer."""
    for _ in range(20):
        try:
            return _export(address)
        except OSError as error:
            print(f"not yet: {error}", file=sys.stderr)
            time.sleep(5)
    return _export(address)


def _export(address: str) -> bytes:
    request = urllib.request.Request(
        f"http://{HOSTS['API']}:8080/v1/accounts/{address}/export?format=mbox",
        headers={"Authorization": f"Bearer {KEY}"},
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        octets: bytes = answer.read()
        told = int(answer.headers["Posthorn-Messages"])
    there = len(_SEPARATOR.findall(octets))
    if there != told:
        raise SystemExit(f"the export of {address} broke off: {there} of {told} messages")
    return octets


def main() -> None:
    """Read and print."""
    found: Counter[int] = Counter()
    altered = []
    for address in ADDRESSES:
        for message in _SEPARATOR.split(export(address))[1:]:
            number = re.search(rb"^Message-ID: <(\d+)@load\.example>\r?$", message, re.MULTILINE)
            if number is None:
                raise SystemExit(f"a stranger's message: {message[:400]!r}")
            found[int(number[1])] += 1
            sent = content(int(number[1])).replace(b"\r\n", b"\n")
            if not message.replace(b"\r\n", b"\n").rstrip(b"\n").endswith(sent.rstrip(b"\n")):
                altered.append(int(number[1]))
    print(json.dumps({"found": found, "altered": altered}))


if __name__ == "__main__":
    main()
