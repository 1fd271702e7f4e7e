"""A process with its resource usage by the kernel, children included."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Process:
    """Something that was started."""

    popen: subprocess.Popen[bytes]

    def cpu(self) -> float:
        """Seconds of user and system time so far."""
        assert self.popen.poll() is None, "it has ended"
        return sum(cpu(pid) for pid in _family(self.popen.pid))

    def rss(self) -> int:
        """Bytes of memory now."""
        return sum(rss(pid) for pid in _family(self.popen.pid))

    async def stop(self) -> None:
        """Ask it to stop, and insist."""
        self.popen.terminate()
        try:
            await asyncio.to_thread(self.popen.wait, 15)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


def _family(pid: int) -> Iterator[int]:
    yield pid
    for child in _read(pid, f"task/{pid}/children").split():
        yield from _family(int(child))


def cpu(pid: int) -> float:
    """Give the seconds of user and system time of one process."""
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss(pid: int) -> int:
    """Give the bytes of memory of one process."""
    return int(_read(pid, "statm").split()[1]) * _PAGE


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return "0 " * 20 if name in {"stat", "statm"} else ""
