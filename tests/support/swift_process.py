"""The four servers of a Swift in one process: ``python -m tests.support.swift_process
CONFIG_DIRECTORY``.

One process imports Swift once, so it starts in two seconds where four take ten. Rings are made when
there are none. It writes ``ready`` to standard output when all four answer.
"""

from __future__ import annotations

import sys
import warnings

warnings.simplefilter("ignore")

import eventlet  # type: ignore[import-untyped]

eventlet.monkey_patch()

import os
import socket
import time
from pathlib import Path

from eventlet import wsgi
from swift.common.http_protocol import SwiftHttpProtocol  # type: ignore[import-untyped]
from swift.common.ring import RingBuilder  # type: ignore[import-untyped]
from swift.common.utils import NullLogger, set_swift_dir  # type: ignore[import-untyped]
from swift.common.wsgi import loadapp  # type: ignore[import-untyped]

KINDS = ("object", "container", "account")


def make_rings(etc: Path, ports: dict[str, int]) -> None:
    for kind in KINDS:
        ring = etc / f"{kind}.ring.gz"
        if not ring.exists():
            builder = RingBuilder(2, 1, 0)
            builder.add_dev(
                {
                    "region": 1,
                    "zone": 1,
                    "ip": "127.0.0.1",
                    "port": ports[kind],
                    "device": "d1",
                    "weight": 1.0,
                }
                | {"replication_ip": "127.0.0.1", "replication_port": ports[kind], "meta": ""}
            )
            builder.rebalance()
            builder.get_ring().save(str(ring))


def main() -> None:
    etc = Path(sys.argv[1])
    ports = {name: int(port) for name, _, port in (part.partition("=") for part in sys.argv[2:])}
    set_swift_dir(str(etc))
    make_rings(etc, ports)
    os.environ["TZ"] = "UTC+0"
    time.tzset()
    servers = []
    for kind in (*KINDS, "proxy"):
        listener = eventlet.listen(("127.0.0.1", ports[kind]), backlog=512)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        app = loadapp(str(etc / f"{kind}.conf"), global_conf={"log_name": kind})
        servers.append(
            eventlet.spawn(
                wsgi.server,
                listener,
                app,
                NullLogger(),
                protocol=SwiftHttpProtocol,
                socket_timeout=60,
                capitalize_response_headers=False,  # S3 clients look for "ETag", not for "Etag"
            )
        )
    eventlet.sleep(0)
    print("ready", flush=True)
    for server in servers:
        server.wait()


if __name__ == "__main__":
    main()
