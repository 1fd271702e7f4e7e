from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.e2e.stage import Stage, prepare, staged
from tests.support.broker import UsedHosts, VirtualHost, virtual_host
from tests.support.node import Node


@pytest.fixture(scope="session")
def used_hosts(broker: Node) -> UsedHosts:
    """Virtual hosts of the shared node with all that a worker declares."""
    return UsedHosts(broker, prepare)


@pytest.fixture
def vhost(request: pytest.FixtureRequest, broker: Node, used_hosts: UsedHosts) -> Iterator[VirtualHost]:
    """Lend a virtual host with empty queues; a test that is marked `fresh` gets one without any."""
    is_fresh = request.node.get_closest_marker("fresh") is not None
    with virtual_host(broker) if is_fresh else used_hosts.host() as host:
        yield host


@pytest.fixture
async def stage(vhost: VirtualHost, tmp_path: Path) -> AsyncIterator[Stage]:
    """Make a stage in a virtual host of its own."""
    async with staged(vhost.url, tmp_path) as stage:
        yield stage
