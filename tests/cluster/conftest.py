"""One run for all tests, and its tables at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.cluster_env import ClusterEnv
from tests.cluster.images import Images
from tests.cluster.ledger import Account
from tests.cluster.settings import Settings

_RESULT = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def env(request: pytest.FixtureRequest) -> Iterator[ClusterEnv]:
    """The release on the cluster that KUBECONFIG names, and the sender beside it."""
    settings = Settings.load()
    made = ClusterEnv(settings)
    major, minor = made.kubectl.version()
    if (major, minor) < (1, 25) and not settings.old:
        pytest.fail(
            f"the chart needs Kubernetes 1.25, this is {major}.{minor}; POSTHORN_CLUSTER_OLD=1 tries a changed copy"
        )
    Images(settings).provide()
    made.prepare()
    yield made
    if not settings.keep:
        made.remove()


@pytest.fixture(scope="session")
def result(env: ClusterEnv, request: pytest.FixtureRequest) -> Account:
    """The account of the run, written down. Ask for it last: it ends the run."""
    found = env.finish()
    page = (
        f"Kubernetes {env.version}, {len(env.kubectl.items('nodes'))} node(s), {env.release.helm}, "
    )
    page += f"{'stand-in' if env.settings.standins else 'official'} images of the stores, {env.settings.rate:g} messages/s\n\n"
    page += f"{found.table()}\n{found.clients_table()}"
    (env.settings.results / "result.md").write_text(page)
    (env.settings.results / "result.json").write_text(json.dumps(found.document(), indent=1))
    request.config.stash[_RESULT] = page
    return found


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the tables."""
    if page := config.stash.get(_RESULT, ""):
        terminalreporter.section("the run")
        terminalreporter.write_line(page)
