"""kubectl, against the cluster that KUBECONFIG names."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

type Object = dict[str, Any]


class KubectlError(RuntimeError):
    """kubectl failed; the text is what it said."""


def await_that(
    what: str, done: Callable[[], bool], seconds: float = 300, pause: float = 1.0
) -> None:
    """Look again and again until something is so. A look that fails counts as not yet: API
    servers are restarted too."""
    deadline = time.monotonic() + seconds
    said = ""
    while True:
        try:
            if done():
                return
        except (KubectlError, subprocess.TimeoutExpired) as error:
            said = f": {error}"
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}{said}")
        time.sleep(pause)


class Kubectl:
    """Commands in one namespace."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def said(self, *arguments: str, given: str | None = None, seconds: float = 120) -> str:
        """Run a command. Return what it printed. Raises KubectlError."""
        done = subprocess.run(
            ["kubectl", "--namespace", self.namespace, *arguments],
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def apply(self, *objects: Object) -> None:
        """Create or change objects."""
        self.said(
            "apply",
            "--filename",
            "-",
            given=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}),
        )

    def items(self, kind: str, selector: str = "", every: bool = False) -> list[Object]:
        """Objects of a kind, by a label selector."""
        where = ["--all-namespaces"] if every else []
        chosen = ["--selector", selector] if selector else []
        found: list[Object] = json.loads(
            self.said("get", kind, *where, *chosen, "--output", "json")
        )["items"]
        return found

    def run_in(
        self, pod: str, *command: str, given: str | None = None, seconds: float = 120
    ) -> str:
        """Run a command in a pod. Return what it printed."""
        stdin = ["--stdin"] if given is not None else []
        return self.said("exec", *stdin, pod, "--", *command, given=given, seconds=seconds)

    def version(self) -> tuple[int, int]:
        """The API server's version."""
        told = json.loads(self.said("get", "--raw", "/version"))
        return int(told["major"]), int(told["minor"].rstrip("+"))

    def is_going(self) -> bool:
        """Return whether the namespace is being deleted."""
        found = json.loads(self.said("get", "namespaces", "--output", "json"))["items"]
        return any(
            each["metadata"]["name"] == self.namespace and "deletionTimestamp" in each["metadata"]
            for each in found
        )

    def serves(self, version: str) -> bool:
        """Return whether the API server has a group and version, such as ``policy/v1``."""
        return version in self.said("api-versions").split()

    def evict(self, pod: str) -> None:
        """Evict a pod as a drain does: budgets are asked, and asked again until they allow it."""
        version = "policy/v1" if self.serves("policy/v1") else "policy/v1beta1"
        eviction = {
            "apiVersion": version,
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.namespace},
        }
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/eviction"

        def evicted() -> bool:
            try:
                self.said("create", "--raw", path, "--filename", "-", given=json.dumps(eviction))
            except KubectlError as error:
                if "NotFound" in str(error) or "not found" in str(error):
                    return True
                if "disruption budget" in str(error):
                    return False
                raise
            return True

        await_that(f"{pod} may be evicted", evicted, pause=2)
