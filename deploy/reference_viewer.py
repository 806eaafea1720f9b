"""Renew the viewer of the API's reference: ``python -m deploy.reference_viewer VERSION``, from the
project's root.

Takes the npm package ``swagger-ui-dist`` by npm's own client, checks the archive against the
integrity that the registry states, and writes the files that the page uses to
``posthorn_api/reference/assets`` with a lock, ``viewer.lock.json``: the version, the integrity of
the archive, and the SHA-256 of each file as the archive has it. A test compares the files with the
lock.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

PACKAGE = "swagger-ui-dist"
ASSETS = Path(__file__).parents[1] / "services/api/src/posthorn_api/reference/assets"
LOCK = ASSETS / "viewer.lock.json"
COMPRESSED = ("swagger-ui-bundle.js", "swagger-ui.css")
AS_THEY_ARE = ("favicon-32x32.png", "LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt")


def renew(version: str) -> None:
    """Write the files of a version and their lock."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("npm is not installed")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"{PACKAGE}@{version}", "--json", "--pack-destination", folder]
        packed = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)[0]  # noqa: S603 - npm itself
        archive = Path(folder) / packed["filename"]
        integrity = (
            "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        )
        if integrity != packed["integrity"]:
            raise SystemExit(f"{packed['filename']}: the archive is not what the registry states")
        with tarfile.open(archive) as entries:
            for name in (*COMPRESSED, *AS_THEY_ARE):
                source = entries.extractfile(f"package/{name}")
                assert source is not None
                content = source.read()
                if name in COMPRESSED:
                    (ASSETS / f"{name}.gz").write_bytes(gzip.compress(content, 9, mtime=0))
                else:
                    (ASSETS / name).write_bytes(content)
    files = {name: sha256_of(name) for name in (*COMPRESSED, *AS_THEY_ARE)}
    lock = {
        "package": PACKAGE,
        "version": packed["version"],
        "license": "Apache-2.0",
        "integrity": integrity,
    }
    LOCK.write_text(json.dumps({**lock, "sha256": files}, indent=2) + "\n")


def read_lock() -> dict[str, Any]:
    """Return the lock."""
    lock: dict[str, Any] = json.loads(LOCK.read_text())
    return lock


def sha256_of(name: str) -> str:
    """Return the SHA-256 of a file's content as the npm package has it, in hexadecimal digits."""
    stored = ASSETS / f"{name}.gz"
    content = (
        gzip.decompress(stored.read_bytes()) if stored.exists() else (ASSETS / name).read_bytes()
    )
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    renew(sys.argv[1] if len(sys.argv) > 1 else "latest")
