#!/usr/bin/python3 -S
"""runc for machines whose root lacks CAP_SYS_RESOURCE: leaves out of a container's specification
what only that could grant.

Docker asks for lower OOM scores and higher limits than such a root may set, and no container would
start.
"""

import itertools
import json
import os
import resource
import sys
from pathlib import Path

RUNC = "/usr/sbin/runc"
CAPABILITY = "CAP_SYS_RESOURCE"


def main() -> None:
    """Become runc, after the specification was put within bounds."""
    arguments = sys.argv[1:]
    if {"create", "run"} & set(arguments):
        bundle = "."
        for option, value in itertools.pairwise(arguments):
            if option in ("-b", "--bundle"):
                bundle = value
        path = Path(bundle, "config.json")
        specification = json.loads(path.read_text())
        bound(specification["process"])
        path.write_text(json.dumps(specification))
    os.execv(RUNC, ["runc", *arguments])


def bound(process: dict) -> None:  # type: ignore[type-arg]
    """Put the specification of a process within what this root may set."""
    if process.get("oomScoreAdj", 0) < 0:
        process["oomScoreAdj"] = 0
    for names in (process.get("capabilities") or {}).values():
        if CAPABILITY in names:
            names.remove(CAPABILITY)
    for limit in process.get("rlimits") or ():
        number = getattr(resource, limit["type"], None)
        if number is None:
            continue
        most = resource.getrlimit(number)[1]
        if most != resource.RLIM_INFINITY:
            limit["hard"] = min(limit["hard"], most)
            limit["soft"] = min(limit["soft"], limit["hard"])


if __name__ == "__main__":
    main()
