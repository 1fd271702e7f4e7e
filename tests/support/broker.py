"""Real RabbitMQ nodes for tests: one shared by all, in virtual hosts of one's own, or several of one's own.

A node belongs to no event loop, so the shared one needs no loop that lasts as long as the session.
"""

import asyncio
import base64
import json
import secrets
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from tests.support.node import Node

ROOT_VARIABLE = "RELAY_TEST_RABBITMQ_ROOT"
Result = TypeVar("Result")


@contextmanager
def shared_node(directory: Path, root: Path | None) -> Iterator[Node]:
    """Run a node with the management plugin, from code that is not asynchronous."""
    node = Node(directory, root=root, management=True)
    _complete(node.start())
    try:
        yield node
    finally:
        _complete(node.__aexit__())


def _complete(coroutine: Coroutine[object, object, Result]) -> Result:
    # Not asyncio.run(): it would take away the loop that pytest-asyncio has set.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(coroutine)


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """A virtual host, which isolates a test's queues and exchanges."""

    node: Node
    name: str

    @property
    def url(self) -> str:
        """Where AMQP clients connect."""
        return self.node.url + self.name

    async def close_connections(self) -> None:
        """Have the broker close every connection to this virtual host, as an operator may."""
        each = f'Connection <- rabbit_connection_tracking:list(<<"{self.name}">>)'
        pid = "element(6, Connection)"  # a field of its record
        await self.node.evaluate(f'[rabbit_networking:close_connection({pid}, <<"closed by a test">>) || {each}]')


@contextmanager
def virtual_host(node: Node) -> Iterator[VirtualHost]:
    """Make a virtual host, and drop it with everything in it afterwards."""
    host = VirtualHost(node, f"test-{secrets.token_hex(4)}")
    manage(node, "PUT", f"vhosts/{host.name}")
    try:
        yield host
    finally:
        if node.running:
            manage(node, "DELETE", f"vhosts/{host.name}")


@dataclass(frozen=True, slots=True)
class UsedHosts:
    """Virtual hosts with the topology of a worker, for one test after the other.

    To declare it anew takes a node fifty times as long as to empty its queues. A virtual host in which a test has left
    anything else is dropped.
    """

    node: Node
    declare: Callable[[str], Coroutine[object, object, None]]
    _free: list[tuple[VirtualHost, str]] = field(default_factory=list)

    @contextmanager
    def host(self) -> Iterator[VirtualHost]:
        """Lend a virtual host."""
        host, state = self._free.pop() if self._free else self._made()
        yield host
        for _ in range(_LOOKS):
            if _complete(self.node.evaluate(_EMPTIED % host.name)) == state:
                self._free.append((host, state))
                return
            time.sleep(0.05)
        manage(self.node, "DELETE", f"vhosts/{host.name}")

    def _made(self) -> tuple[VirtualHost, str]:
        host = VirtualHost(self.node, f"test-{secrets.token_hex(4)}")
        manage(self.node, "PUT", f"vhosts/{host.name}")
        _complete(self.declare(host.url))
        return host, _complete(self.node.evaluate(_EMPTIED % host.name))


_LOOKS: Final = 5
_EMPTIED: Final = """
begin
    V = <<"%s">>,
    [rabbit_networking:close_connection(element(6, C), <<"the test is over">>)
        || C <- rabbit_connection_tracking:list(V)],
    Queues = rabbit_amqqueue:list(V),
    [catch rabbit_amqqueue:purge(Q) || Q <- Queues],
    erlang:phash2({
        lists:sort([{amqqueue:get_name(Q), amqqueue:get_type(Q), amqqueue:get_arguments(Q),
            rabbit_amqqueue:info(Q, [messages])} || Q <- Queues]),
        lists:sort([{element(2, X), element(3, X), element(4, X)} || X <- rabbit_exchange:list(V)]),
        lists:sort(rabbit_binding:list(V)),
        lists:sort(rabbit_runtime_parameters:list(V)),
        lists:sort(rabbit_auth_backend_internal:list_vhost_permissions(V))
    })
end"""
"""Ends all connections to a virtual host, empties its queues, and gives a number for what is left."""


def manage(node: Node, method: str, path: str, **fields: object) -> object:
    """Ask the management interface, which is quicker than a command; return what it answers, read from JSON."""
    request = urllib.request.Request(  # noqa: S310  # the URL is a node's own
        f"{node.management_url}api/{path}",
        json.dumps(fields).encode() if fields else None,
        method=method,
        headers={"Authorization": "Basic " + base64.b64encode(b"guest:guest").decode()},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  # the same
        body = answer.read()
    return json.loads(body) if body else None


@asynccontextmanager
async def largest_message(node: Node, size: int) -> AsyncIterator[None]:
    """Have a node refuse messages of more than `size` bytes on channels that are opened from now on."""
    before = await node.evaluate(
        f"begin {{ok, Old}} = application:get_env(rabbit, max_message_size), {_largest(size)}, Old end"
    )
    try:
        yield
    finally:
        await node.evaluate(f"begin {_largest(int(before))} end")


def _largest(size: int) -> str:
    return f"application:set_env(rabbit, max_message_size, {size}), persistent_term:put(max_message_size, {size})"


@contextmanager
def user(host: VirtualHost, *, configure: str = "^$", write: str = "^$", read: str = "^$") -> Iterator[str]:
    """Make a user with these rights in a virtual host, as regular expressions; give the URL it connects with."""
    name = f"user-{secrets.token_hex(4)}"
    manage(host.node, "PUT", f"users/{name}", password="made-up", tags="")
    try:
        manage(host.node, "PUT", f"permissions/{host.name}/{name}", configure=configure, write=write, read=read)
        yield f"amqp://{name}:made-up@127.0.0.1:{host.node.port}/{host.name}"
    finally:
        if host.node.running:
            manage(host.node, "DELETE", f"users/{name}")
