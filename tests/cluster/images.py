"""The images: built here if need be, and brought to the nodes."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.cluster.settings import ROOT, Settings

SERVICES = ("smtp-in", "delivery", "scan", "relay", "pop3", "imap", "api")
STANDIN = "posthorn/standins"
STANDIN_TAG = "1"
_CONTAINERS = ROOT / "tests" / "containers"


class Images:
    """Posthorn's images under two tags, and that of the stand-ins."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        beside = Path("/usr/bin/docker")  # a newer client elsewhere on PATH may lack BuildKit
        self._docker = str(beside) if beside.exists() else "docker"

    def provide(self) -> None:
        """Have them on the nodes."""
        settings = self._settings
        if settings.images == "present":
            return
        names = []
        for service in SERVICES:
            name = f"{settings.registry}/posthorn/posthorn-{service}"
            self._run(
                self._docker,
                "build",
                "--quiet",
                "--build-arg",
                f"SERVICE={service}",
                "--tag",
                f"{name}:{settings.tag}",
                ".",
            )
            names.append(f"{name}:{settings.tag}")
            if settings.next_tag != settings.tag:
                self._run(self._docker, "tag", names[-1], f"{name}:{settings.next_tag}")
                names.append(f"{name}:{settings.next_tag}")
        if settings.standins:
            names.append(f"{settings.registry}/{STANDIN}:{STANDIN_TAG}")
            self._build_standins(names[-1])
        for name in names:
            self._load(name)

    def _load(self, image: str) -> None:
        way = self._settings.images
        if way == "docker":
            return
        if way == "push":
            self._run(self._docker, "push", "--quiet", image)
        elif way == "kind":
            context = self._run("kubectl", "config", "current-context").strip()
            self._run(
                "kind", "load", "docker-image", image, "--name", context.removeprefix("kind-")
            )
        elif "{archive}" in way:
            with tempfile.TemporaryDirectory() as folder:
                archive = f"{folder}/image.tar"
                self._run(self._docker, "save", "--output", archive, image)
                self._run("sh", "-c", way.replace("{archive}", shlex.quote(archive)))
        elif "{image}" in way:
            self._run("sh", "-c", way.replace("{image}", shlex.quote(image)))
        else:
            raise AssertionError(
                f"POSTHORN_CLUSTER_IMAGES is none of kind, docker, push, present, nor a command: {way}"
            )

    def _build_standins(self, name: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for path in ("swift_process.py", "swift_cache.py"):
                shutil.copy(ROOT / "tests" / "support" / path, folder)
            shutil.copytree(_CONTAINERS / "standins", folder, dirs_exist_ok=True)
            locked = re.findall(
                r"^[a-z0-9-]+==[^ ;]+",
                (ROOT / "requirements" / "dev.txt").read_text(),
                re.MULTILINE,
            )
            (Path(folder) / "constraints.txt").write_text("\n".join([*locked, ""]))
            self._run(self._docker, "build", "--quiet", "--tag", name, folder)

    @staticmethod
    def _run(*command: str) -> str:
        done = subprocess.run(
            ["env", "DOCKER_BUILDKIT=1", *command],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            timeout=1800,
        )
        if done.returncode:
            raise AssertionError(f"{' '.join(command)}: {(done.stdout + done.stderr)[-3000:]}")
        return done.stdout
