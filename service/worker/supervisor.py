"""Several worker processes on one machine, and one that supervises them.

Each process is a whole worker; they share nothing but the queue. The supervisor passes signals on, restarts a process
that ended or does not answer, after a delay that grows, and serves one operations port for all: every metric with the
label `process`.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from service.adapters.logging import get_logger
from service.adapters.operations import Condition, listen, make_app, serving
from service.adapters.settings import ENV_FILE, Settings
from service.worker.signals import listen_for_reload, listen_for_signals

_PROGRAM: Final = (sys.executable, "-P", "-c", "from service.cli.main import main; main()", "worker")
"""`-P`: no module comes from the working directory, which may be anyone's."""
_FIRST_WAIT, _LONGEST_WAIT, _WELL_AFTER = 1.0, 30.0, 60.0
_LOOK_EVERY: Final = 2.0
_TIMEOUT: Final = 3.0
"""Seconds for one answer, and for stopping beyond the grace."""
_MISSES: Final = 3
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_ACCEPT: Final = {"Accept": "application/openmetrics-text; version=1.0.0"}  # plain text has no exemplars
_STARTING: Final = Condition(ready=False, reason="starting")


@dataclass(eq=False)
class Child:
    """One worker process and its restarts; its port stays the same."""

    number: int
    listener: socket.socket
    process: asyncio.subprocess.Process | None = None
    condition: Condition = _STARTING
    misses: int = 0

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask its operations port. Raises `OSError`, also if the answer is not HTTP."""
        url = f"http://127.0.0.1:{self.listener.getsockname()[1]}{path}"
        try:
            with _DIRECT.open(urllib.request.Request(url, headers=_ACCEPT), timeout=_TIMEOUT) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except HTTPException as error:
            raise OSError("no answer") from error

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


@dataclass(eq=False)
class _Children(Collector):
    """The metrics of the processes, read from each on every request."""

    children: list[Child]
    own: CollectorRegistry = field(default_factory=CollectorRegistry)

    def collect(self) -> Iterator[Metric]:
        yield from self.own.collect()
        found: dict[str, Metric] = {}
        for child in self.children:
            with contextlib.suppress(OSError):
                page = child.get("/metrics")[1].decode()
                for family in text_string_to_metric_families(page):  # type: ignore[no-untyped-call]  # theirs
                    whole = found.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                    for sample in family.samples:
                        if not sample.name.endswith("_created"):
                            labels = {**sample.labels, "process": str(child.number)}
                            whole.add_sample(sample.name, labels, sample.value, exemplar=sample.exemplar)
        yield from found.values()


class Supervisor:
    """Runs `count` workers."""

    def __init__(self, settings: Settings, count: int, env_file: str | None = None) -> None:
        self._settings = settings
        self._log = get_logger()
        self._children = [Child(number, listen("127.0.0.1", 0)) for number in range(1, count + 1)]
        self._environment = {**os.environ, "RELAY_REPLICAS": str(settings.replicas * count)}
        if env_file is not None:
            self._environment[ENV_FILE] = env_file
        self._stop, self._abort = listen_for_signals()
        listen_for_reload(self._reload)
        self._metrics = _Children(self._children)
        self._restarts = Counter(
            "omni_relay_process_restarts",
            "Worker processes that ended or hung and were started again. Rises: read their last log lines.",
            registry=self._metrics.own,
        )

    async def run(self) -> int:
        """Run until asked to stop; returns the exit status. Raises `OSError` when the operations port is taken."""
        registry = CollectorRegistry()
        registry.register(self._metrics)
        app = make_app(registry, self._condition, lambda: True)
        async with serving(app, self._settings.http_host, self._settings.http_port) as port:
            self._log.info("supervisor.started", processes=len(self._children), port=port)
            keeping = [asyncio.create_task(self._keep(child)) for child in self._children]
            looking = [asyncio.create_task(self._look_after(child)) for child in self._children]
            stopping = asyncio.create_task(self._stop.wait())
            await asyncio.wait({*keeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
            self._stop.set()
            for task in looking:
                task.cancel()
            await self._end(keeping)
        self._log.info("supervisor.stopped")
        statuses = {task.result() for task in keeping}
        if os.EX_CONFIG in statuses:
            return os.EX_CONFIG
        return int(not statuses <= {0, -signal.SIGTERM})  # asked to stop before it could listen, it ends by the signal

    def _reload(self) -> None:
        """Have the workers read their secrets again. One that still starts reads them anyway."""
        for child in self._children:
            if child.condition is not _STARTING:
                child.send(signal.SIGHUP)

    def _condition(self) -> Condition:
        if self._stop.is_set():
            return Condition(ready=False, reason="stopping")
        conditions = sorted((child.condition for child in self._children), key=lambda one: (not one.ready, one.paused))
        return conditions[0]

    async def _keep(self, child: Child) -> int:
        """Restart it until asked to stop or its configuration is wrong; returns its exit status."""
        wait = _FIRST_WAIT
        while True:
            began = time.monotonic()
            child.process = await self._start(child)
            if self._stop.is_set():
                child.send(signal.SIGTERM)  # it was not there yet when all were asked
            status = await child.process.wait()
            child.condition, child.misses = _STARTING, 0
            if self._stop.is_set() or status == os.EX_CONFIG:
                return status
            wait = _FIRST_WAIT if time.monotonic() - began > _WELL_AFTER else wait
            self._log.error("process.ended", process=child.number, status=status, again_in=wait)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), wait)
                return 0
            wait = min(wait * 2, _LONGEST_WAIT)
            self._restarts.inc()

    async def _start(self, child: Child) -> asyncio.subprocess.Process:
        """Start it in a session of its own: we pass a terminal's Ctrl-C on. Its standard input ends when we do."""
        descriptor = child.listener.fileno()
        return await asyncio.create_subprocess_exec(
            *_PROGRAM,
            *("--number", str(child.number), "--listener", str(descriptor)),
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            pass_fds=(descriptor,),
            start_new_session=True,
        )

    async def _look_after(self, child: Child) -> None:
        """Check it; end it if it does not answer, or is not live."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            if child.process is None or child.process.returncode is not None:
                continue
            try:
                live, _ = await asyncio.to_thread(child.get, "/livez")
                _, body = await asyncio.to_thread(child.get, "/readyz")
                child.condition = Condition(**json.loads(body))
            except (OSError, ValueError, TypeError):
                child.misses += 1
                if child.misses >= _MISSES:
                    await self._replace(child, _TIMEOUT)
            else:
                child.misses = 0
                if live != HTTPStatus.OK:
                    await self._replace(child, self._settings.shutdown_grace + _TIMEOUT)

    async def _replace(self, child: Child, grace: float) -> None:
        """End the process within so many seconds; `_keep` starts the next one."""
        self._log.error("process.stuck", process=child.number)
        process, child.misses = child.process, 0
        child.send(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait() if process else asyncio.sleep(0), grace)
        if process is child.process:  # a restarted one is another process
            child.send(signal.SIGKILL)

    async def _end(self, keeping: list[asyncio.Task[int]]) -> None:
        """Ask all to stop, again if we are asked again, and kill those that do not."""
        for child in self._children:
            child.send(signal.SIGTERM)
        ended = asyncio.gather(*keeping, return_exceptions=True)
        insisting = asyncio.create_task(self._abort.wait())
        timeout = self._settings.shutdown_grace + _TIMEOUT
        either: set[asyncio.Future[Any]] = {ended, insisting}
        await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if insisting.done():
            for child in self._children:
                child.send(signal.SIGTERM)
            await asyncio.wait({ended}, timeout=_TIMEOUT)
        insisting.cancel()
        for child in self._children:
            child.send(signal.SIGKILL)
        await ended


async def supervise(settings: Settings, count: int, env_file: str | None = None) -> int:
    """Run `count` workers until asked to stop; returns the exit status. Raises `OSError` when the port is taken.

    `env_file` is read by the workers too.
    """
    return await Supervisor(settings, count, env_file).run()
