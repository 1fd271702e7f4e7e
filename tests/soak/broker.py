"""RabbitMQ for a soak: nodes that crash and come back, each behind a proxy that can cut its connections."""

import asyncio
import ctypes
import os
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from service.demo.rabbitmq.handshake import handshake
from service.demo.rabbitmq.install import EPMD, PROGRAMS, Server
from service.demo.rabbitmq.ports import Ports
from tests.support.proxy import Proxy

_READY_SECONDS: Final = 120
_PR_SET_PDEATHSIG: Final = 1
_CONFIGURATION: Final = """\
loopback_users = none
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 512MiB
cluster_partition_handling = pause_minority
cluster_formation.peer_discovery_backend = classic_config
"""


class ClusterNode:
    """One of several nodes that share a port mapper and a cookie. The kernel kills it when its parent ends."""

    def __init__(self, server: Server, directory: Path, name: str, ports: Ports) -> None:
        self.name = name
        self.port = ports.amqp
        self._server = server
        self._directory = directory
        self._environment = server.environment(directory, name, ports)
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self, cookie: str, peers: Sequence[str]) -> None:
        """Write what it reads."""
        (self._directory / "log").mkdir(parents=True)
        (self._directory / ".erlang.cookie").write_text(cookie)
        (self._directory / ".erlang.cookie").chmod(0o400)
        (self._directory / "enabled_plugins").write_text("[].\n")
        lines = (f"cluster_formation.classic_config.nodes.{number} = {peer}" for number, peer in enumerate(peers, 1))
        (self._directory / "rabbitmq.conf").write_text(_CONFIGURATION + "\n".join(lines) + "\n")

    def run(self, *program: str) -> subprocess.Popen[bytes]:
        """Run a program on its directory."""
        with (self._directory / "log" / "console.log").open("ab") as console:
            return subprocess.Popen(
                self._server.command(self._directory, *program),
                env=self._environment,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - no threads are running
                process_group=0,
            )

    async def start(self) -> None:
        """Start it; return when AMQP clients are answered."""
        self._process = self.run(str(PROGRAMS / "rabbitmq-server"))
        async with asyncio.timeout(_READY_SECONDS):
            while not await handshake(self.port, self.name):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)

    async def kill(self) -> None:
        """Crash it."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            await asyncio.to_thread(self._process.wait, 10)
            self._process = None


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(frozen=True)
class Broker:
    """All nodes, and the proxies in front of them."""

    nodes: tuple[ClusterNode, ...]
    proxies: tuple[Proxy, ...]

    @property
    def direct(self) -> list[str]:
        """The URLs that bypass the proxies."""
        return [f"amqp://guest:guest@127.0.0.1:{node.port}/" for node in self.nodes]

    @property
    def urls(self) -> str:
        """Where workers connect."""
        return ",".join(f"amqp://guest:guest@127.0.0.1:{proxy.port}/" for proxy in self.proxies)

    def cut(self) -> None:
        """Reset every connection of the workers."""
        for proxy in self.proxies:
            proxy.cut()

    async def crash(self, number: int) -> None:
        """Kill one node, and start it again."""
        node = self.nodes[number % len(self.nodes)]
        await node.kill()
        await asyncio.sleep(1)
        await node.start()


@asynccontextmanager
async def running(directory: Path, count: int, root: Path | None) -> AsyncIterator[Broker]:
    """Run so many nodes, as one cluster, on RabbitMQ of this machine or of the system tree at `root`."""
    server, cookie, tag = Server(root), secrets.token_hex(16), secrets.token_hex(3)
    server.require()
    ports = [Ports.free() for _ in range(count)]
    names = [f"soak-{tag}-{number}@localhost" for number in range(count)]
    nodes = tuple(
        ClusterNode(server, directory / f"node-{number}", name, replace(own, epmd=ports[0].epmd))
        for number, (name, own) in enumerate(zip(names, ports, strict=True))
    )
    for node in nodes:
        node.prepare(cookie, names)
    epmd = nodes[0].run(str(EPMD), "-port", str(ports[0].epmd), "-address", "127.0.0.1")
    async with AsyncExitStack() as stack:
        stack.callback(epmd.wait)
        stack.callback(epmd.kill)
        for node in nodes:
            stack.push_async_callback(node.kill)
        await asyncio.gather(*(node.start() for node in nodes))
        proxies = [await stack.enter_async_context(Proxy(node.port)) for node in nodes]
        yield Broker(nodes, tuple(proxies))
