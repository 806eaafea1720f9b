"""The images hold one service each, run as nobody in particular, and write nowhere but where
they may."""

from __future__ import annotations

import json
import re

import pytest
from deploy.release import version
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.containers.docker import BASE_IMAGE, ROOT, Docker, DockerError

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

_SERVICES = ("smtp-in", "delivery", "scan", "relay", "pop3", "imap", "api")
_MOST_OVER_BASE = 150_000_000
_LOOK = """
import importlib, importlib.metadata, importlib.util, json, os, pathlib, pkgutil, shutil, sys
def writable(place):
    try:
        path = pathlib.Path(place, "written")
        path.write_text("x")
        path.unlink()
    except OSError:
        return False
    return True
stale = [str(path) for path in pathlib.Path("/opt/posthorn/lib").rglob("*.py")
         if not pathlib.Path(importlib.util.cache_from_source(str(path))).exists()]
def unusable(package):
    bad = []
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            bad.append(f"{module.name}: {error}")
    return bad
held = sorted(found.name.lower().replace("_", "-") for found in importlib.metadata.distributions())
print(json.dumps({
    "held": held,
    "unusable": unusable("posthorn_" + sys.argv[1].replace("-", "_")),
    "modules": [name for name in ("pip", "uv", "setuptools", "hatchling", "pytest") if importlib.util.find_spec(name)],
    "programs": [name for name in ("pip", "pip3", "uv", "gcc", "cc", "make") if shutil.which(name)],
    "migrate": bool(shutil.which("posthorn-migrate")),
    "canary": bool(shutil.which("posthorn-canary")),
    "keys": bool(shutil.which("posthorn-keys")),
    "traces": "opentelemetry-sdk" not in held or bool(importlib.import_module("posthorn.runtime.otlp")),
    "user": [os.getuid(), os.getgid(), os.getgroups()],
    "capabilities": [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")][0],
    "writable": [place for place in ("/", "/opt/posthorn", "/etc", "/home", "/tmp") if writable(place)],
    "uncompiled": stale,
    "licence": pathlib.Path("/licenses/LICENSE").read_text(),
    "version": importlib.metadata.version("posthorn-" + sys.argv[1]),
}))
"""


@pytest.fixture(params=_SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def _locked(service: str) -> list[str]:
    text = (ROOT / "requirements" / f"{service}.txt").read_text()
    found = [
        Requirement(line) for line in re.findall(r"^([a-z0-9].*?)(?: \\)?$", text, re.MULTILINE)
    ]
    return [one.name for one in found if one.marker is None or one.marker.evaluate()]


def run(docker: Docker, image: str, *arguments: str) -> str:
    hardened = [
        "--rm",
        "--read-only",
        "--tmpfs=/tmp",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
    ]
    return docker.said("run", *hardened, "--network=none", image, *arguments)


def test_an_image_holds_its_service_and_the_library_and_no_installer(
    docker: Docker, images: dict[str, str], service: str
) -> None:
    hardened = [
        "--rm",
        "--read-only",
        "--tmpfs=/tmp",
        "--cap-drop=ALL",
        "--network=none",
        "--entrypoint=python",
    ]
    seen = json.loads(docker.said("run", *hardened, images[service], "-c", _LOOK, service))
    ours = ["posthorn", f"posthorn-{service}"]
    if service == "api":
        ours.append("posthorn-console")
    assert seen["held"] == sorted([*ours, *_locked(service)])
    assert not seen["unusable"]
    assert seen["migrate"]
    assert seen["keys"] and seen["canary"]
    assert seen["traces"]
    assert not seen["modules"] and not seen["programs"]
    assert seen["user"] == [10001, 10001, [10001]] or seen["user"] == [10001, 10001, []]
    assert int(seen["capabilities"], 16) == 0
    assert seen["writable"] == ["/tmp"]
    assert not seen["uncompiled"]
    assert seen["licence"] == (ROOT / "LICENSE").read_text()
    assert seen["version"] == version()


def test_an_image_says_what_it_is_and_whom_it_runs_as(
    docker: Docker, images: dict[str, str], service: str
) -> None:
    config = docker.seen(images[service])["Config"]
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"][0] == "CMD", "no shell"
    assert all(int(port.partition("/")[0]) > 1024 for port in config["ExposedPorts"])
    assert config["Labels"]["org.opencontainers.image.title"] == f"posthorn-{service}"
    assert config["Labels"]["org.opencontainers.image.source"]
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert config["Labels"]["org.opencontainers.image.version"] == version()
    assert not [name for name in config["Env"] if "KEY" in name or "PASSWORD" in name]


def test_an_image_is_less_than_150_mb_over_its_base(
    docker: Docker, images: dict[str, str], service: str
) -> None:
    over = docker.seen(images[service])["Size"] - docker.seen(BASE_IMAGE)["Size"]
    print(f"{service}: {over / 1e6:.0f} MB over the base")
    assert over < _MOST_OVER_BASE


def test_without_settings_it_refuses_and_names_what_is_missing(
    docker: Docker, images: dict[str, str], service: str
) -> None:
    with pytest.raises(DockerError, match="refusing to start") as refusal:
        run(docker, images[service])
    assert "POSTHORN_BLOBS" in str(refusal.value) and "Traceback" not in str(refusal.value)


def test_an_image_that_is_told_to_stop_while_it_loads_stops(
    docker: Docker, images: dict[str, str], service: str
) -> None:
    # the first process of a container has no default action for a signal: without a handler it
    # would overhear it
    status = ""
    for _ in range(10):  # on a busy machine it may have ended by itself, for want of settings
        container = docker.said("run", "--detach", "--network=none", images[service])
        docker.tried("kill", "--signal=TERM", container)
        status = docker.said("wait", container)
        docker.said("rm", container)
        if status == "143":
            break
    assert status == "143"


def test_the_command_line_has_an_image_of_its_own(docker: Docker, cli_image: str) -> None:
    assert run(docker, cli_image, "--version").strip().endswith(version())
    help_text = run(docker, cli_image, "domain", "create", "--help")
    assert "posthorn domain create" in help_text
    over = docker.seen(cli_image)["Size"] - docker.seen(BASE_IMAGE)["Size"]
    assert over < _MOST_OVER_BASE / 2
    with pytest.raises(DockerError, match="posthorn context add"):
        run(docker, cli_image, "domain", "list")
    held = docker.said(
        "run", "--rm", "--network=none", "--entrypoint=python", cli_image, "-c",
        "import importlib.metadata as m; print(*(d.name for d in m.distributions()))",
    )  # fmt: skip
    assert {canonicalize_name(each) for each in held.split()} == {"posthorn-cli", *_locked("cli")}


def test_a_job_runs_the_command_line_by_its_name(docker: Docker, cli_image: str) -> None:
    said = docker.said(
        "run", "--rm", "--network=none", "--entrypoint=posthorn", cli_image, "--help"
    )
    assert "apply" in said
