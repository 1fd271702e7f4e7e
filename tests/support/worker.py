"""The real worker, and the other commands, as processes of their own.

Each gets an environment made here, an empty directory to work in, and is gone at the end of the test, or
with the tests themselves, however they end.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from service import COMPILED
from tests.support.forked import Forked, fork

PROGRAM: Final = (str(Path(sys.executable).with_name("omni-relay")),)
DEADLY: Final = (sys.executable, str(Path(__file__).with_name("deadly.py")))
TIMEOUT: Final = 25.0
_POLL: Final = 0.05
# The kernel kills it when its parent ends; this setting survives the exec.
LEASH: Final = (
    *(sys.executable, "-c"),
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])",
)


@dataclass
class Worker:
    """A process of the relay. Its standard error, where the log goes, is a file."""

    process: asyncio.subprocess.Process | Forked
    log: Path
    output: Path
    _port: int = field(default=0)

    @property
    def port(self) -> int:
        """The URL of its operations port."""
        return self._port

    def listens_on(self, port: int) -> None:
        """Take note of its operations port, which its log tells."""
        self._port = port

    @property
    def text(self) -> str:
        """The whole log so far."""
        return self.log.read_text(encoding="utf-8")

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        """Read its log lines, or those of one event."""
        lines = [json.loads(line) for line in self.text.splitlines(keepends=True) if line.endswith("}\n")]
        return [line for line in lines if not event or line["event"] == event]

    async def until(self, condition: Callable[[], bool], within: float = TIMEOUT) -> None:
        """Wait for a condition; fail with the log if it is not met in time, or the process has ended."""
        try:
            async with asyncio.timeout(within):
                while not condition():
                    assert self.process.returncode is None, f"it has ended:\n{self.text}"
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            raise AssertionError(f"not within {within} s:\n{self.text}") from None

    async def until_line(self, event: str, within: float = TIMEOUT) -> dict[str, Any]:
        """Wait for the first log line of an event."""
        await self.until(lambda: bool(self.lines(event)), within)
        return self.lines(event)[0]

    async def until_ready(self) -> None:
        """Wait until it consumes."""
        line = await self.until_line("worker.started")
        assert line["compiled"] is COMPILED  # else the tests would run against something else than meant
        self._port = line["port"]
        await self.until_metric("omni_relay_consuming", 1)
        assert (await self.get("/readyz"))[0] == 200

    async def until_all_ready(self, processes: int) -> None:
        """Wait until so many processes consume."""
        self._port = (await self.until_line("supervisor.started"))["port"]
        for number in range(1, processes + 1):
            await self.until_metric(f'omni_relay_consuming{{process="{number}"}}', 1)

    async def until_metric(self, name: str, value: float, within: float = TIMEOUT) -> None:
        """Wait until a metric has a value."""
        async with asyncio.timeout(within):
            while (await self._metric(name)) != value:  # noqa: ASYNC110  # another process
                await asyncio.sleep(_POLL)

    async def _metric(self, name: str) -> float | None:
        assert self.process.returncode is None, f"it has ended:\n{self.text}"
        with contextlib.suppress(OSError):
            return (await self.metrics()).get(name)
        return None  # it does not listen yet

    async def get(self, path: str) -> tuple[int, str]:
        """Send a request to the operations port."""
        return await asyncio.to_thread(_get, f"http://127.0.0.1:{self._port}{path}")

    async def readiness(self) -> tuple[int, dict[str, Any]]:
        """Ask whether it is ready."""
        status, body = await self.get("/readyz")
        return status, json.loads(body)

    async def metrics(self) -> dict[str, float]:
        """Read the metrics that are not histograms, by name and labels."""
        lines = (await self.get("/metrics"))[1].splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def ended(self, within: float = TIMEOUT) -> int:
        """Wait for its end; gives the exit status."""
        return await asyncio.wait_for(self.process.wait(), within)

    async def stop(self) -> int:
        """Ask it to stop, and wait."""
        self.send(signal.SIGTERM)
        return await self.ended()


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # our own process
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@asynccontextmanager
async def started(
    directory: Path,
    settings: Mapping[str, str],
    *arguments: str,
    stdin: bytes | None = None,
    program: Sequence[str] | None = PROGRAM,
    files: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Worker]:
    """Start `omni-relay` with these arguments and settings; it is killed at the end, if it still runs.

    Without a program it is forked, which is quicker. `files` are put into its working directory, texts by names.
    """
    log, output, given = _files(directory, stdin or b"")
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith("RELAY_")}
    environment = {**inherited, "RELAY_LOG_FORMAT": "json", **settings}
    process: asyncio.subprocess.Process | Forked
    with log.open("wb") as errors, output.open("wb") as types, given.open("rb") as source:
        if program is None:
            process = await fork(arguments, environment, directory, (source, types, errors))
        else:
            process = await asyncio.create_subprocess_exec(
                *(*LEASH, *program, *arguments),
                cwd=directory,
                env=environment,
                stdin=source,
                stdout=types,
                stderr=errors,
                start_new_session=True,
            )
    try:
        yield Worker(process, log, output)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _files(directory: Path, stdin: bytes) -> tuple[Path, Path, Path]:
    directory.mkdir(parents=True)
    (directory / "input").write_bytes(stdin)
    return directory / "log", directory / "output", directory / "input"


@dataclass(frozen=True)
class Ended:
    """The result of a command that has ended."""

    status: int
    output: str
    errors: str


async def run(  # noqa: PLR0913 - all but two have defaults and are given by name
    directory: Path,
    settings: Mapping[str, str],
    *arguments: str,
    stdin: bytes | None = None,
    within: float = TIMEOUT,
    program: Sequence[str] | None = PROGRAM,
    files: Mapping[str, str] = MappingProxyType({}),
) -> Ended:
    """Run a command and wait for its end."""
    async with started(directory, settings, *arguments, stdin=stdin, program=program, files=files) as command:
        status = await command.ended(within)
        return Ended(status, command.output.read_text(encoding="utf-8"), command.text)
