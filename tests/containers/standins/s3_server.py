"""OpenStack Swift in the place of Garage: S3 on port 3900, data in /var/lib/garage, the key from
Garage's variables.

Run as a script, with swift_process.py and swift_cache.py of tests/support beside it.
"""

from __future__ import annotations

import warnings

warnings.simplefilter("ignore")

import eventlet  # type: ignore[import-untyped]

eventlet.monkey_patch()

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eventlet import wsgi
from swift.common.http_protocol import SwiftHttpProtocol  # type: ignore[import-untyped]
from swift.common.utils import NullLogger, set_swift_dir  # type: ignore[import-untyped]
from swift.common.wsgi import loadapp  # type: ignore[import-untyped]

sys.path.insert(0, "/standins")

from swift_process import KINDS, make_rings  # type: ignore[import-not-found]

_PORTS = {"object": 6200, "container": 6201, "account": 6202}
_ETC = Path("/tmp/swift")
_DATA = Path("/var/lib/garage")


def main() -> None:
    """Serve until told to stop: process 1 of a container hears no signal that it has not asked
    for."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    _configure()
    set_swift_dir(str(_ETC))
    make_rings(_ETC, _PORTS)
    os.environ["TZ"] = "UTC+0"
    time.tzset()
    servers = []
    for kind in (*KINDS, "proxy"):
        address = ("0.0.0.0", 3900) if kind == "proxy" else ("127.0.0.1", _PORTS[kind])
        servers.append(
            eventlet.spawn(
                wsgi.server,
                eventlet.listen(address, backlog=512),
                loadapp(str(_ETC / f"{kind}.conf"), global_conf={"log_name": kind}),
                NullLogger(),
                protocol=SwiftHttpProtocol,
                socket_timeout=60,
                capitalize_response_headers=False,  # S3 clients look for "ETag", not for "Etag"
            )
        )
    servers.append(
        eventlet.spawn(wsgi.server, eventlet.listen(("0.0.0.0", 3903)), _health, NullLogger())
    )
    for server in servers:
        server.wait()


def _health(
    _environment: dict[str, Any], start: Callable[[str, list[tuple[str, str]]], object]
) -> list[bytes]:
    """Answer on Garage's admin port as far as probes ask."""
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"standing in\n"]


def _configure() -> None:
    _ETC.mkdir(exist_ok=True)
    (_DATA / "d1").mkdir(exist_ok=True)
    (_ETC / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = test\nswift_hash_path_prefix = test\n"
        "[storage-policy:0]\nname = default\ndefault = yes\n"
    )
    for kind, port in _PORTS.items():
        (_ETC / f"{kind}.conf").write_text(
            f"[DEFAULT]\nbind_port = {port}\nuser = root\nswift_dir = {_ETC}\ndevices = {_DATA}\nmount_check = false\n"
            f"workers = 0\nlog_level = WARNING\n[pipeline:main]\npipeline = {kind}-server\n"
            f"[app:{kind}-server]\nuse = egg:swift#{kind}\n"
        )
    account, _, user = os.environ["GARAGE_DEFAULT_ACCESS_KEY"].partition(":")
    filters = {
        "catch_errors": "use = egg:swift#catch_errors",
        "cache": "paste.filter_factory = swift_cache:filter_factory",
        "s3api": "use = egg:swift#s3api\nlocation = garage",
        "tempauth": f"use = egg:swift#tempauth\nuser_{account}_{user} = "
        f"{os.environ['GARAGE_DEFAULT_SECRET_KEY']} .admin .reseller_admin",
        "bulk": "use = egg:swift#bulk",
        "slo": "use = egg:swift#slo",
        "dlo": "use = egg:swift#dlo",
    }
    (_ETC / "proxy.conf").write_text(
        f"[DEFAULT]\nbind_port = 3900\nuser = root\nswift_dir = {_ETC}\nworkers = 0\nlog_level = WARNING\n"
        f"[pipeline:main]\npipeline = {' '.join(filters)} proxy-server\n"
        "[app:proxy-server]\nuse = egg:swift#proxy\nallow_account_management = true\naccount_autocreate = true\n"
        + "".join(f"[filter:{name}]\n{text}\n" for name, text in filters.items())
    )


if __name__ == "__main__":
    main()
