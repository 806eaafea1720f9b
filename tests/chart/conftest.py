"""What several tests of the chart use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chart.cluster import Cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    running = Cluster()
    running.thread.start()
    yield running
    running.server.shutdown()
    running.server.server_close()
