"""The release: installed, upgraded, rolled back and removed by Helm; the binary if there is one,
else Helm 4 as a library."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import helm_python

from tests.cluster.kubectl import Kubectl, Object, await_that
from tests.cluster.settings import ROOT

NAME = "posthorn"
CHART = ROOT / "deploy" / "helm" / "posthorn"
SELECTOR = f"app.kubernetes.io/instance={NAME}"
STORES = ("postgresql", "nats", "s3")
_READY_SECONDS = 600
_GONE_SECONDS = 900
"""A pod may go on with its sessions for long, and hostile clusters are slow."""


def chart_for(kubectl: Kubectl, folder: Path) -> Path:
    """The chart, or for a Kubernetes older than it allows a changed copy in a folder."""
    major, minor = kubectl.version()
    if (major, minor) >= (1, 25):
        return CHART
    copy = folder / "chart"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(CHART, copy)
    about = copy / "Chart.yaml"
    about.write_text(
        re.sub(
            r"^kubeVersion: .*$",
            f'kubeVersion: ">={major}.{minor}.0-0"',
            about.read_text(),
            flags=re.M,
        )
    )
    if not kubectl.serves("policy/v1"):
        budgets = copy / "templates" / "disruption.yaml"
        budgets.write_text(budgets.read_text().replace("policy/v1\n", "policy/v1beta1\n"))
    parts = copy / "templates" / "deployments.yaml"
    parts.write_text(
        re.sub(r"\n +terminationGracePeriodSeconds: {{ \$hung }}", "", parts.read_text())
    )
    if (major, minor) < (1, 22):
        # its controllers come to own the list of claims whole, so Helm must say it as the API
        # server has filled it in
        bundled = copy / "templates" / "_bundled.tpl"
        text = bundled.read_text().replace(
            "- metadata:\n    name: data\n",
            "- apiVersion: v1\n  kind: PersistentVolumeClaim\n  metadata:\n    creationTimestamp: null\n    name: data\n",
        )
        last = "requests: {storage: {{ .storage.size }}}\n"
        bundled.write_text(
            text.replace(last, f"{last}    volumeMode: Filesystem\n  status: {{phase: Pending}}\n")
        )
    return copy


class Release:
    """What is installed, and how it is changed."""

    def __init__(self, kubectl: Kubectl, chart: Path, values: dict[str, Any]) -> None:
        self.kubectl = kubectl
        self.values = values
        self._before = values
        self._chart = chart
        self._binary = shutil.which("helm")

    # ---- Helm

    @property
    def helm(self) -> str:
        """Which Helm it is."""
        if self._binary is None:
            return f"Helm {helm_python.helm_sdk_version()} as a library"
        return f"Helm {self._run('version', '--short').strip()}"

    def install(self) -> None:
        """Install, and wait until all is ready."""
        if self._binary:
            self._with_values("install")
        else:
            with self._config() as config:
                config.install(
                    str(self._chart),
                    NAME,
                    self.values,
                    namespace=self.kubectl.namespace,
                    timeout=600,
                )
        self.await_ready()

    def upgrade(self, **changes: Any) -> None:
        """Upgrade with values changed on the top level, and wait until all is ready and the old
        pods are gone."""
        self._before, self.values = self.values, self.values | changes
        if self._binary:
            self._with_values("upgrade")
        else:
            with self._config() as config:
                config.upgrade(
                    str(self._chart),
                    NAME,
                    self.values,
                    namespace=self.kubectl.namespace,
                    timeout=600,
                )
        self.await_ready()

    def rollback(self) -> None:
        """Go back to the revision before."""
        if self._binary:
            self._run("rollback", NAME)
        else:
            with self._config() as config:
                config.rollback(NAME, timeout=600)
        self.values = self._before
        self.await_ready()

    def uninstall(self) -> None:
        """Remove it, and wait until its pods are gone."""
        if self._binary:
            self._run("uninstall", NAME, "--ignore-not-found")
        else:
            with self._config() as config:
                config.uninstall(NAME, ignore_not_found=True, timeout=600)
        await_that("the pods are gone", lambda: not self.pods(), _GONE_SECONDS)

    def test(self) -> str:
        """Run ``helm test --logs``. Return what it printed."""
        if self._binary:
            return self._run("test", NAME, "--logs", "--timeout", "5m")
        with self._config() as config:
            return str(config.test(NAME, timeout=300, logs=True)["logs"])

    def _config(self) -> helm_python.Config:
        return helm_python.Config(namespace=self.kubectl.namespace)

    def _with_values(self, action: str) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(self.values, file)
            file.flush()
            self._run(action, NAME, str(self._chart), "--values", file.name, "--timeout", "10m")

    def _run(self, *arguments: str) -> str:
        assert self._binary
        command = [self._binary, "--namespace", self.kubectl.namespace, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
        if done.returncode:
            raise AssertionError(f"{' '.join(command)}: {(done.stdout + done.stderr)[-3000:]}")
        return done.stdout

    # ---- pods

    def pods(self, component: str = "") -> list[Object]:
        """The pods of the parts and stores, not those of Jobs and tests."""
        chosen = f"{SELECTOR},app.kubernetes.io/component={component}" if component else SELECTOR
        return [
            pod
            for pod in self.kubectl.items("pods", chosen)
            if pod["metadata"]["labels"]["app.kubernetes.io/component"] not in ("migrate", "test")
        ]

    def controllers(self) -> list[Object]:
        """Deployments and StatefulSets."""
        return self.kubectl.items("deployments,statefulsets", SELECTOR)

    def await_ready(self) -> None:
        """Wait until every part is of the last version and ready, and no pod is still going."""
        await_that("all is ready", self._ready, _READY_SECONDS)
        await_that(
            "the old pods are gone",
            lambda: not [pod for pod in self.pods() if "deletionTimestamp" in pod["metadata"]],
            _GONE_SECONDS,
        )

    def _ready(self) -> bool:
        found = self.controllers()
        return bool(found) and all(_settled(each) for each in found)


def _settled(controller: Object) -> bool:
    status, spec = controller.get("status", {}), controller["spec"]
    wanted = spec.get("replicas", 1)
    counts = [status.get(f"{which}eplicas", 0) for which in ("r", "updatedR", "readyR")]
    current: bool = status.get("observedGeneration", 0) >= controller["metadata"]["generation"]
    return current and counts == [wanted] * 3
