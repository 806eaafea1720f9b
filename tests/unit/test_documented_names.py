"""Names of settings, metrics and files in the documentation exist in the code."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

from deploy.helm.settings import CLASSES

from posthorn.adapters.postgres.migrate import MigrateSettings
from posthorn.runtime.env_settings import PREFIX, EnvSettings
from posthorn_local.settings import LocalSettings

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "libs/posthorn/src/posthorn"
CHART = ROOT / "deploy/helm/posthorn"
PAGES = sorted(
    [
        *(page for page in (ROOT / "docs").rglob("*.md") if "reference" not in page.parts),
        *(
            CHART / name
            for name in ("README.md", "values.yaml", "templates/NOTES.txt", "files/alerts.yaml")
        ),
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
    ]
)
_WITH_WILDCARD = r"(?![A-Za-z0-9_*…]|\.\.\.)"
_VARIABLE = re.compile(r"(?<![A-Za-z0-9_$])POSTHORN_[A-Z0-9_]*[A-Z0-9]" + _WITH_WILDCARD)
_METRIC = re.compile(r"(?<![A-Za-z0-9_./$^-])posthorn_[a-z0-9_]+" + _WITH_WILDCARD)
_ROLES = {f"posthorn_{role}" for role in ("submission", "delivery", "relay", "pop3", "imap", "api")}
_COMPOSE_NETWORK = {"posthorn_stores"}


def text_of(*names: str) -> str:
    """Return the text of files, and of all Python files below directories."""
    paths = [ROOT / name for name in names]
    files = chain(*(path.rglob("*.py") if path.is_dir() else [path] for path in paths))
    return "\n".join(file.read_text() for file in files)


def variables() -> set[str]:
    """Return the variables of all settings classes, and those that programs without a class
    read."""
    classes: tuple[type[EnvSettings], ...] = (*CLASSES.values(), LocalSettings, MigrateSettings)
    by_name = text_of("services/cli", "services/local", "bench", "chaos", "docker-compose.yml")
    of_cluster = re.findall(r"\"([A-Z_]+)\"", text_of("tests/cluster/settings.py"))
    return {
        *(PREFIX + field.upper() for each in classes for field in each.model_fields),
        *(PREFIX + "CLUSTER_" + name for name in of_cluster),
        *_VARIABLE.findall(by_name),
        *re.findall(r"export (POSTHORN_[A-Z]+)=", "".join(page.read_text() for page in PAGES)),
    }


def metrics() -> set[str]:
    """Return the metrics that the code defines, with the suffixes that Prometheus shows."""
    defined = set(re.findall(r"\"(posthorn_[a-z0-9_]+)\"", text_of("libs", "services")))
    return {
        name + suffix for name in defined for suffix in ("", "_total", "_bucket", "_count", "_sum")
    }


def modules() -> set[str]:
    """Return the names of the Python packages, which look like metrics."""
    return {path.name for path in ROOT.glob("services/*/src/*") if path.is_dir()}


def names(pattern: re.Pattern[str]) -> set[tuple[str, str]]:
    """Return where which names are documented."""
    return {
        (str(page.relative_to(ROOT)), name)
        for page in PAGES
        for name in pattern.findall(page.read_text())
    }


def test_documented_variables_exist() -> None:
    known, found = variables(), names(_VARIABLE)
    assert len(found) > 90
    assert not {(page, name) for page, name in found if name not in known}


def test_documented_metrics_exist() -> None:
    known, found = metrics() | modules() | _ROLES | _COMPOSE_NETWORK, names(_METRIC)
    assert len(found) > 40
    assert not {(page, name) for page, name in found if name not in known}


def test_paths_in_the_map_of_the_source_exist() -> None:
    tops = {path.name for top in (ROOT, LIBRARY) for path in top.iterdir() if path.is_dir()}
    text = (ROOT / "docs/architecture.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    code = re.findall(r"`([a-z0-9_./<>-]+/[a-z0-9_./<>-]+|runtime/[a-z_]+\.py)`", text)
    paths = [path for path in code if "<" not in path and path.split("/")[0] in tops]
    assert len(paths) > 40
    assert not [path for path in paths if not any((top / path).exists() for top in (ROOT, LIBRARY))]


def test_documented_modules_exist() -> None:
    text = "".join(page.read_text() for page in PAGES)
    files = set(re.findall(r"`([a-z0-9_/-]+/[a-z0-9_]+\.py)`", text))
    assert len(files) > 20
    assert not [path for path in files if not any((top / path).exists() for top in (ROOT, LIBRARY))]
    dotted = set(
        re.findall(
            r"`(?:posthorn\.)?((?:wire|model|ports|runtime|adapters)\.[a-z_.]+[a-z_])[`.]", text
        )
    )
    assert len(dotted) > 2
    assert not [
        name for name in dotted if not any(map(_is_module, (name, name.rpartition(".")[0])))
    ]


def _is_module(name: str) -> bool:
    path = LIBRARY / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


def test_documentation_uses_the_terms_of_the_glossary() -> None:
    old = re.compile(
        r"\b(?:letters? (?:in|out)|the letters?|an octet|what became of|at hand)\b", re.IGNORECASE
    )
    for page in {*PAGES, ROOT / "CHANGELOG.md", CHART / "UPGRADING.md"} - {ROOT / "README.md"}:
        assert not old.search(page.read_text()), page
