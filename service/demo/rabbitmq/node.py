"""A private, temporary RabbitMQ node on loopback: for the demo and for the tests.

It has its own directory, ports, port mapper, cookie and environment, and runs as the current user. It does not affect
another broker on this machine. A reaper watches each run, and ends all its processes when this process ends.

A node belongs to no event loop: each method may be awaited in another one.
"""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Self

from service.demo.rabbitmq import reaper
from service.demo.rabbitmq.handshake import handshake
from service.demo.rabbitmq.install import EPMD, PROGRAMS, NodeError, Server, configuration
from service.demo.rabbitmq.ports import Ports

READY_SECONDS = 60.0
_POLL_SECONDS = 0.05
_LAUNCHES = 3  # another process may take a port before the node listens on it
_LOG_LINES = 30
_PLUGINS = ("rabbitmq_management", "rabbitmq_prometheus")


class _PortTakenError(NodeError):
    pass


class Node:
    """A node in a directory of its own, which the caller removes. Data and ports stay the same over all its starts."""

    def __init__(
        self,
        directory: Path,
        *,
        root: Path | None = None,
        management: bool = False,
        plugins: Sequence[str] = (),
        configuration: str = "",
    ) -> None:
        """Add `configuration` to rabbitmq.conf; `$DIRECTORY` in it is the node's directory as the node sees it."""
        self.name = f"relay-{secrets.token_hex(4)}@localhost"
        self.version = ""  # known once it has started
        self._directory = directory.absolute()
        self._server = Server(root)
        self._management = management
        self._plugins = (*(_PLUGINS if management else ()), *plugins)
        self._configuration = configuration
        self._ports = Ports.free()
        self._reaper: subprocess.Popen[bytes] | None = None
        self._group = 0

    @property
    def url(self) -> str:
        """The URL for AMQP clients."""
        return f"amqp://guest:guest@127.0.0.1:{self._ports.amqp}/"

    @property
    def port(self) -> int:
        """The AMQP port."""
        return self._ports.amqp

    @property
    def running(self) -> bool:
        """Whether the node's process runs, paused and starting included."""
        return self._reaper is not None and self._reaper.poll() is None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Kill it: the data is not needed any more, and a node with plugins takes seconds to stop."""
        if self.running:
            await self.kill()
        else:
            self._abandon()

    async def start(self) -> None:
        """Start, and return when the node answers AMQP clients."""
        if self.running:
            raise NodeError(f"{self.name} runs already")
        self._abandon()  # after a run that has ended by itself
        self._server.require()
        for launch in range(1, _LAUNCHES + 1):
            try:
                await self._launch()
            except _PortTakenError:
                # A node that has run keeps its ports: clients know its address.
                if self.version or launch == _LAUNCHES:
                    raise
                self._ports = Ports.free()
            else:
                return

    async def stop(self) -> None:
        """Stop as an operator would; kill it if that takes too long. Does nothing if it does not run."""
        if self._reaper is not None and self._reaper.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._reaper.stdin.write(b"stop\n")
            await self._ended(reaper.STOP_SECONDS + 10)

    async def kill(self) -> None:
        """Crash. The data on disk stays; a quorum queue is there only about a second after it was declared."""
        self._signal(signal.SIGKILL)
        await self._ended(10)

    async def _launch(self) -> None:
        self._prepare()
        self._reaper = process = self._spawn_reaper()
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not (version := await handshake(self._ports.amqp, self.name)):
                    if process.poll() is not None:
                        raise self._failure("ended before it was ready", process.returncode)
                    await asyncio.sleep(_POLL_SECONDS)
            self._group = _announced_group(process)
        except TimeoutError:
            raise self._failure(f"was not ready within {READY_SECONDS:.0f} s") from None
        finally:
            if not self._group:
                self._abandon()
        self.version = version

    def _prepare(self) -> None:
        """Write the node's files; the data of an earlier run stays."""
        (self._directory / "log").mkdir(parents=True, exist_ok=True)
        cookie = self._directory / ".erlang.cookie"
        if not cookie.exists():
            cookie.touch(mode=0o600)
            cookie.write_text(secrets.token_hex(16))
            cookie.chmod(0o400)
        (self._directory / "enabled_plugins").write_text(f"[{','.join(self._plugins)}].\n")
        added = self._configuration.replace("$DIRECTORY", str(self._server.seen(self._directory)))
        own = configuration(self._ports, management=self._management)
        (self._directory / "rabbitmq.conf").write_text(own + added)

    def _environment(self) -> dict[str, str]:
        return self._server.environment(self._directory, self.name, self._ports)

    def _spawn_reaper(self) -> subprocess.Popen[bytes]:
        epmd = (str(EPMD), "-port", str(self._ports.epmd), "-address", "127.0.0.1")
        commands = reaper.Commands(
            epmd=self._server.command(self._directory, *epmd),
            epmd_port=self._ports.epmd,
            node=self._server.command(self._directory, str(PROGRAMS / "rabbitmq-server")),
            console=str(self._directory / "log" / "console.log"),
        )
        return subprocess.Popen(  # noqa: S603  # our own program
            # By its path and isolated: no module in the working directory or the environment can replace it.
            [sys.executable, "-I", reaper.__file__, json.dumps(asdict(commands))],
            bufsize=0,
            cwd=self._directory,
            env=self._environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C on the terminal reaches this process only, which then stops the node
        )

    def _signal(self, number: signal.Signals) -> None:
        if not self.running:
            raise NodeError(f"{self.name} does not run")
        os.killpg(self._group, number)

    async def _ended(self, seconds: float) -> None:
        """Wait for the reaper, which ends last; after that time it kills all processes that still run."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while self.running:  # noqa: ASYNC110  # a process sends no event
                        await asyncio.sleep(_POLL_SECONDS)
        finally:
            self._abandon()

    def _abandon(self) -> None:
        """Close the reaper's input, so that it kills all processes that still run, and wait for its end."""
        process, self._reaper, self._group = self._reaper, None, 0
        if process is None:
            return
        with contextlib.suppress(BrokenPipeError), process:  # closes its pipes and waits for its end
            pass

    def _failure(self, what: str, status: int | None = None) -> NodeError:
        log = self._log_tail()
        taken = status == reaper.PORT_TAKEN or "eaddrinuse" in log
        return (_PortTakenError if taken else NodeError)(f"RabbitMQ node {self.name} {what}\n{log}")

    def _log_tail(self) -> str:
        logs = sorted((self._directory / "log").glob("*.log"))
        return "\n".join(
            f"--- {log}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:]) for log in logs
        )


def _announced_group(process: subprocess.Popen[bytes]) -> int:
    """Read the line that the reaper wrote when it started the node."""
    return int(process.stdout.readline()) if process.stdout else 0
