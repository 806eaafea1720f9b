"""Write the generated files of the chart: ``python -m deploy.helm.generate``, from the project's
root.

- ``values.schema.json``: from ``schema.py`` and the settings classes of the services;
- ``files/settings.json``: the variables that each service reads, so that one ``settings`` can serve
  all of them;
- ``files/nats-users.conf`` and ``deploy/compose/nats-users.conf``: the services' users on NATS;
- ``deploy/s3``: an S3 policy for each service;
- ``files/pages.json``: the public paths of the API;
- ``files/dashboards``: Grafana's dashboards, from ``dashboards.areas``;
- ``README.md``: from the comments of ``values.yaml``. A comment right above a key is its
  description; ``## Title`` begins a section; a key of a service without a comment is described at
  smtpIn.

With ``--check`` nothing is written; it fails and names the files that are not up to date.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from deploy.helm.dashboards.areas import DASHBOARDS
from deploy.helm.dashboards.grafana import document
from deploy.helm.schema import schema
from deploy.helm.settings import CLASSES, variables

from posthorn.adapters.blobs.s3_policies import PARTS, policy_text
from posthorn.adapters.nats.permissions import users_config
from posthorn_api.dns.public_routes import (
    AUTODISCOVER_PATHS,
    CONFIG_PATHS,
    POLICY_PATH,
    PROFILE_PATH,
)

CHART = Path(__file__).parent / "posthorn"
COMPOSE = Path(__file__).parents[1] / "compose"
POLICIES = Path(__file__).parents[1] / "s3"

_KEY = re.compile(r"([A-Za-z0-9_]+):(.*)$")
_LONGEST_DEFAULT = 60

_INTRODUCTION = """\
# Posthorn's chart

{description}.

```sh
helm install posthorn deploy/helm/posthorn --namespace mail --create-namespace --set hostname=mail.example.org
kubectl --namespace mail rollout status deployment --selector app.kubernetes.io/instance=posthorn --timeout 5m
helm test posthorn --namespace mail --logs
```

On a cluster without load balancers (kind, minikube) add `--set service.type=ClusterIP`.

Needs Kubernetes {kube} and Helm 3.12 or later, or Helm 4, which the tests run. Postgres, NATS and
an S3 server are bundled for evaluation; in production, configure your own with `existingSecret` and
disable the bundled ones. [ci/](ci) contains values files for several cases.
[UPGRADING.md](UPGRADING.md) says what to do before upgrades, `docs/operations.md` how to run
Posthorn, `docs/runbooks/` what to do about each alert.

To change the number of pods use the values, not `kubectl scale`: Helm 4 applies server-side, and
fails on a number that another tool has set. The chart refuses such an upgrade before anything is
sent, and says how to continue; see [UPGRADING.md](UPGRADING.md).

Rendering without a cluster (Argo CD, `helm template`) cannot look up the Secrets that were
generated before, and would replace them each time, so the chart refuses to generate any. Set
`existingSecret` for `secretKey` (with `srsKey`), `api.adminKey`, the stores and `tls`. With Argo
CD, which passes the cluster's API versions to Helm, set `secrets.generate: never`, so that none is
forgotten. Nor can it look up how many pods a service has; see `smtpIn.autoscaling.enabled`.

Each service logs in to NATS and Postgres with its own user, which has the rights of that service
only. The chart creates these users on the bundled stores; for your own stores, name their Secrets
in `partSecrets` (docs/operations.md).

On a cluster without IPv4, make the services listen on IPv6: `settings` with `POSTHORN_HEALTH_HOST`,
`POSTHORN_SMTP_HOST`, `POSTHORN_POP3_HOST`, `POSTHORN_IMAP_HOST` and `POSTHORN_API_HOST`, each
`"::"`.

This page is generated from the comments in values.yaml by `python -m deploy.helm.generate`.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One value: its path with dots, its default as YAML, and what its comment says; or with no
    path the title of a section."""

    path: str
    default: str
    comment: str


def entries(text: str) -> Iterator[Entry]:
    """Read values.yaml line by line. A map of the chart's own gives no entry, but what is inside
    it does."""
    values = yaml.safe_load(text)
    comment: list[str] = []
    trail: list[tuple[int, str]] = []
    whole: int | None = None  # how far the key is indented whose value is shown whole
    for line in text.splitlines():
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        if stripped.startswith("## "):
            yield Entry("", "", stripped[3:])
        if not stripped or stripped.startswith("## "):
            comment = []
        elif whole is not None and indent > whole:
            continue
        elif stripped.startswith("#"):
            comment.append(stripped.lstrip("# "))
        elif match := _KEY.match(stripped):
            trail = [*(step for step in trail if step[0] < indent), (indent, match[1])]
            path = ".".join(key for _, key in trail)
            value = _at(values, path)
            whole = (
                None
                if isinstance(value, dict) and not match[2].strip() and not _foreign(path)
                else indent
            )
            if whole is not None:
                yield Entry(path, _short(value), " ".join(comment))
            comment = []


def _foreign(path: str) -> bool:
    """Maps that go to Kubernetes or a server as they are."""
    return path.rpartition(".")[2] in {
        "resources",
        "behavior",
        "parameters",
        "partSecrets",
        "partCredsSecrets",
    }


def _at(values: Any, path: str) -> Any:
    for key in path.split("."):
        values = values[key]
    return values


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_DEFAULT else "see values.yaml"


def readme() -> str:
    """The chart's README."""
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    kube = (
        about["kubeVersion"].removeprefix(">=").removesuffix("-0").rpartition(".")[0] + " or later"
    )
    parts = [_INTRODUCTION.format(description=about["description"], kube=kube)]
    described: set[str] = set()
    for entry in entries((CHART / "values.yaml").read_text()):
        if entry.path:
            described |= {entry.path} if entry.comment else set()
            meaning = entry.comment or _elsewhere(entry.path, described)
            parts.append(
                f"| `{entry.path}` | `{entry.default}` | {meaning.replace('|', '\\|')} |\n"
            )
        else:
            parts.append(f"\n## {entry.comment}\n\n| value | default | meaning |\n|---|---|---|\n")
    return "".join(parts)


def _elsewhere(path: str, described: set[str]) -> str:
    """What to say of a value without a comment: it means what the same key of another part
    means."""
    part, _, rest = path.partition(".")
    for other in ("smtpIn", "delivery", "postgresql", "rspamd"):
        if other != part and f"{other}.{rest}" in described:
            return f"As `{other}.{rest}`."
    return ""


def outputs() -> dict[Path, str]:
    """The text of each file that is made."""
    read = {key: sorted(variables(key)) for key in CLASSES}
    return {
        CHART / "values.schema.json": json.dumps(schema(), indent=1) + "\n",
        CHART / "files" / "settings.json": json.dumps(read, indent=1) + "\n",
        CHART / "files" / "nats-users.conf": users_config(),
        COMPOSE / "nats-users.conf": users_config(),
        **{POLICIES / f"{part}.json": policy_text(part, "posthorn") for part in PARTS},
        CHART / "files" / "pages.json": json.dumps(
            [POLICY_PATH, *CONFIG_PATHS, *AUTODISCOVER_PATHS, PROFILE_PATH], indent=1
        )
        + "\n",
        **{
            CHART / "files" / "dashboards" / f"{each.key}.json": document(each)
            for each in DASHBOARDS
        },
        CHART / "README.md": readme(),
    }


def main() -> None:
    """Write the files, or check them."""
    stale = [
        path for path, text in outputs().items() if not path.exists() or path.read_text() != text
    ]
    if sys.argv[1:] == ["--check"]:
        if stale:
            raise SystemExit(
                f"not up to date, run python -m deploy.helm.generate: {', '.join(map(str, stale))}"
            )
        return
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(outputs()[path])
        print(f"wrote {path}")  # noqa: T201 - a command's output


if __name__ == "__main__":
    main()
