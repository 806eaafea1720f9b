"""Write the pages of the documentation that are made from code: ``python -m deploy.docs.generate``,
from the project's root.

They lie under ``docs/reference``: settings, metrics, objectives, events, problem types, replies, the
scorer's rules, the command line, chart values and the REST API; and in ``mkdocs.yml`` the parts of the
navigation that follow a folder. With ``--check`` nothing is written; it fails, naming the files,
when one is not what it would be, or is made no more.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from deploy.docs.api import api_pages
from deploy.docs.commands import commands_page
from deploy.docs.events import events_page
from deploy.docs.markdown import NOTICE, page
from deploy.docs.metrics import metrics_page
from deploy.docs.objectives import objectives_page
from deploy.docs.problems import problems_page
from deploy.docs.replies import replies_page
from deploy.docs.scan_rules import scan_rules_page
from deploy.docs.settings import settings_page
from deploy.docs.source import ROOT
from deploy.helm.generate import CHART, readme

REFERENCE = ROOT / "docs" / "reference"
_MARK = "# the rest of this folder is written by make docs"

_CHART = """\
The chart is in `deploy/helm/posthorn`. How to install it: [Kubernetes](../getting-started/kubernetes.md); what to do before an
upgrade: [upgrading](upgrading.md). `values.schema.json` refuses misspelt keys and values that cannot work."""


def chart_page() -> str:
    """Return the page of chart values, from the chart's own page, which is made from the
    comments of values.yaml."""
    text = readme()
    return page("Chart values", _CHART, text[text.index("\n## ") :])


def upgrading_page() -> str:
    """Return the chart's page on upgrades as a page of the site."""
    title, _, rest = (CHART / "UPGRADING.md").read_text().partition("\n")
    return page(
        title.removeprefix("# "),
        rest.replace("`docs/operations.md`", "[operations](../operations.md)"),
    )


def configuration(api: Iterable[str]) -> str:
    """Return ``mkdocs.yml`` with the pages of runbooks, decisions and the API (``api``: their
    names) in its navigation, by name."""
    docs = ROOT / "docs"
    text = (ROOT / "mkdocs.yml").read_text()
    folders = {
        folder: [path.name for path in (docs / folder).glob("*.md")]
        for folder in ("runbooks", "adr")
    }
    for folder, names in {**folders, "reference/api": list(api)}.items():
        pages = "".join(
            f"          - {folder}/{name}\n"
            for name in sorted({*names} - {"README.md", "index.md"})
        )
        text = re.sub(rf"(?<={_MARK}\n)( +- {folder}/[^\n]+\n)+", pages, text)
    return text


def outputs() -> dict[Path, str]:
    """Return the text of each page that is made."""
    api = api_pages()
    return {
        ROOT / "mkdocs.yml": configuration(api),
        REFERENCE / "settings.md": settings_page(),
        REFERENCE / "metrics.md": metrics_page(),
        REFERENCE / "objectives.md": objectives_page(),
        REFERENCE / "events.md": events_page(),
        REFERENCE / "problems.md": problems_page(),
        REFERENCE / "replies.md": replies_page(),
        REFERENCE / "scan-rules.md": scan_rules_page(),
        REFERENCE / "cli.md": commands_page(),
        REFERENCE / "chart.md": chart_page(),
        REFERENCE / "upgrading.md": upgrading_page(),
        **{REFERENCE / "api" / name: text for name, text in api.items()},
    }


def stale(made: dict[Path, str]) -> list[Path]:
    """Return the pages that are not what they would be, those that are made no more included."""
    left = {
        path for path in REFERENCE.rglob("*.md") if path.read_text().startswith(NOTICE)
    } - made.keys()
    return sorted(
        [path for path, text in made.items() if not path.exists() or path.read_text() != text]
        + [*left]
    )


def main() -> None:
    """Write the pages, or check them."""
    made = outputs()
    found = stale(made)
    if sys.argv[1:] == ["--check"]:
        if found:
            names = ", ".join(str(path.relative_to(ROOT)) for path in found)
            raise SystemExit(f"not up to date, run make docs: {names}")
        return
    for path in found:
        if path in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(made[path])
        else:
            path.unlink()
        print(f"wrote {path.relative_to(ROOT)}")  # noqa: T201 - a command's output


if __name__ == "__main__":
    main()
