"""What all tests may ask for."""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.broker import ROOT_VARIABLE, VirtualHost, shared_node, virtual_host
from tests.support.memory import MemoryServer
from tests.support.node import Node

# Taken out of the environment: the relay's own processes refuse a RELAY_ name they do not know.
_TREE = os.environ.pop(ROOT_VARIABLE, "")
_TESTS: Final = Path(__file__).parent
_COVERED: Final = ("unit/core/", "golden/")
"""Tests of the core, of which every branch is covered."""


def pytest_configure() -> None:
    """Take two things that the tests' surroundings may decide.

    asyncio of Python 3.11 makes an event loop when pytest-asyncio asks for the current one. Nobody closes it, and its
    ResourceWarning fails whichever test runs when it is collected. A shell that runs the tests in the background has
    them ignore SIGINT, and what they start would ignore it too.
    """
    asyncio.set_event_loop(None)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401  # of pytest-xdist, which has no types
    """Tell each process of pytest-xdist which RabbitMQ to test against: it inherits the environment as it is now."""
    node.workerinput[ROOT_VARIABLE] = _TREE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that a broker takes part in, so that they alone run on another one; long tests go first.

    In the core each branch is covered by a test of its own. What only a law reaches does not count as covered: its
    examples may change. Such tests are twice as fast without the count.
    """
    for item in items:
        if "rabbitmq_root" in getattr(item, "fixturenames", ()):
            item.add_marker("broker")
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("no_cover")
        if item.path.is_relative_to(_TESTS) and item.path.relative_to(_TESTS).as_posix().startswith(_COVERED):
            item.add_marker("uncounted" if item.get_closest_marker("no_cover") else "counted")
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def rabbitmq_root(pytestconfig: pytest.Config) -> Path | None:
    """Name the system tree with the RabbitMQ to test against; nothing means the installed one."""
    tree = getattr(pytestconfig, "workerinput", {}).get(ROOT_VARIABLE, _TREE)
    return Path(tree).resolve() if tree else None


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, rabbitmq_root: Path | None) -> Iterator[Node]:
    """One node for all tests that neither stop nor change it; with the management plugin."""
    with shared_node(tmp_path_factory.mktemp("broker"), rabbitmq_root) as node:
        yield node


@pytest.fixture
def vhost(broker: Node) -> Iterator[VirtualHost]:
    """Make an empty virtual host on the shared node."""
    with virtual_host(broker) as host:
        yield host


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[MemoryServer]:
    """Run a Redis server of the test's own, which it may kill, pause and restart."""
    async with MemoryServer(tmp_path / "memory") as server:
        yield server


@pytest.fixture
async def own_broker(tmp_path: Path, rabbitmq_root: Path | None) -> AsyncIterator[Callable[[], Awaitable[Node]]]:
    """Start nodes that the test may kill, pause and restart as it likes."""
    numbers = itertools.count(1)
    async with AsyncExitStack() as nodes:

        async def start() -> Node:
            node = Node(tmp_path / f"broker-{next(numbers)}", root=rabbitmq_root)
            return await nodes.enter_async_context(node)

        yield start
