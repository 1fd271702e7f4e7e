"""A RabbitMQ node that a test can also pause, restart and ask."""

import asyncio
import signal
import subprocess
from pathlib import Path

from service.demo.rabbitmq import node
from service.demo.rabbitmq.install import PROGRAMS, NodeError

_CTL_SECONDS = 60.0
_POLL_SECONDS = 0.05
_PAUSE_SECONDS = 10.0


class Node(node.Node):
    """See `service.demo.rabbitmq.node.Node`."""

    @property
    def management_url(self) -> str | None:
        """The URL of the management interface, if this node has one."""
        return f"http://127.0.0.1:{self._ports.management}/" if self._management else None

    @property
    def prometheus_port(self) -> int | None:
        """The port of /metrics, if this node serves them."""
        return self._ports.prometheus if self._management else None

    async def restart(self) -> None:
        """Stop if it runs, then start with the same data and ports."""
        await self.stop()
        await self.start()

    async def pause(self) -> None:
        """Stop all threads: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)
        async with asyncio.timeout(_PAUSE_SECONDS):
            while not _is_stopped(self._group):  # noqa: ASYNC110  # the kernel sends no event for it
                await asyncio.sleep(_POLL_SECONDS)

    async def resume(self) -> None:
        """Continue after a pause."""
        self._signal(signal.SIGCONT)

    async def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl on this node and return its output."""
        return await self._run(str(PROGRAMS / "rabbitmqctl"), "-q", *arguments)

    async def evaluate(self, expression: str) -> str:
        """Evaluate an Erlang expression, a hundred times as fast as rabbitmqctl does; return its value as Erlang."""
        root = self._server.root or Path("/")
        erl_call = max(root.glob("usr/lib/erlang/erts-*/bin/erl_call")).relative_to(root)  # as the node sees it
        cookie = (self._directory / ".erlang.cookie").read_text()
        answer = await self._run(f"/{erl_call}", "-sname", self.name, "-c", cookie, "-e", stdin=f"{expression}.\n")
        if not answer.startswith("{ok, "):
            raise NodeError(f"{expression}: {answer}")
        return answer.removeprefix("{ok, ").removesuffix("}")

    async def _run(self, *program: str, stdin: str = "") -> str:
        process = await asyncio.create_subprocess_exec(
            *self._server.command(self._directory, *program),
            env=self._environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(stdin.encode()), _CTL_SECONDS)
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode != 0:
            raise NodeError(f"{Path(program[0]).name}: {output.decode(errors='replace').strip()}")
        return output.decode()


def _is_stopped(pid: int) -> bool:
    """Return whether every thread of a process has stopped; each reacts to SIGSTOP in its own time."""
    try:
        states = [thread.read_text().rpartition(")")[2] for thread in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # a thread has ended meanwhile
        return False
    return all(state.split()[0] == "T" for state in states)
