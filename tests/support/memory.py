"""A real Redis server for tests."""

import asyncio
import contextlib
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from service.demo.rabbitmq.ports import free_port
from tests.support.worker import LEASH

_TIMEOUT = 10.0


@dataclass
class MemoryServer:
    """A server on a port of its own. Without `options` it stores nothing on disk."""

    directory: Path
    options: tuple[str, ...] = ("--save", "", "--appendonly", "no")
    port: int = field(default_factory=free_port)
    password: str = ""
    file: Path | None = None
    """Its configuration."""
    _process: asyncio.subprocess.Process | None = None
    _has_run: bool = False

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"redis://{f':{self.password}@' if self.password else ''}127.0.0.1:{self.port}/0"

    async def __aenter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self) -> None:
        """Start it; return when it answers. Another process may take the port of a first start just before."""
        for _ in range(3):
            if await self._launch():
                self._has_run = True
                return
            assert not self._has_run, f"port {self.port} is taken"  # clients know its address
            self.port = free_port()
        raise AssertionError("it does not start")

    async def _launch(self) -> bool:
        """Start it once; return whether it answers, or has ended."""
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        assert program is not None, "redis-server is missing: deploy/bootstrap --rabbitmq installs it"
        password = ("--requirepass", self.password) if self.password else ()
        self._process = await asyncio.create_subprocess_exec(
            *LEASH,
            *(
                program,
                *([str(self.file)] if self.file else []),
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--dir",
                str(self.directory),
            ),
            *(*self.options, *password),
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        own = b"process_id:%d\r\n" % self._process.pid
        async with asyncio.timeout(_TIMEOUT):
            while own not in await self.ask("INFO", "server"):
                if self._process.returncode is not None:
                    return False
                await asyncio.sleep(0.02)
        return True

    async def kill(self) -> None:
        """End it as a crash does."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def pause(self) -> None:
        """Stop the process; clients wait for answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a stopped process go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def ask(self, *words: str) -> bytes:
        """Give a command; returns the beginning of the answer, or nothing if there is none."""
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                login = f"AUTH {self.password}\r\n" if self.password else ""
                writer.write(f"{login}{' '.join(words)}\r\n".encode())
                if login:
                    await reader.readline()
                return await asyncio.wait_for(reader.read(65536), 1)
            except TimeoutError:
                return b""
            finally:
                writer.close()
        return b""

    async def keys(self) -> list[str]:
        """List the keys that it has."""
        return [line for line in (await self.ask("KEYS", "*")).decode().split("\r\n") if line[:1] not in {"*", "$", ""}]
