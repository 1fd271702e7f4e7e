"""Runs a RabbitMQ node, and ends all its processes when the process that started the reaper ends.

It is a program of its own, run by its path, that needs nothing but the standard library. It starts a private epmd, then
the node, and writes the node's process id to standard output. It ends everything when

* its standard input is closed: its parent has ended, so all processes are killed at once;
* it reads a line there: a request to stop, so the node gets SIGTERM, and is killed after a time;
* the node or epmd ends.

The reaper is the subreaper of its descendants, so it finds every process that the node started, also in process groups
of their own. If the reaper itself is killed, the kernel kills the node and epmd, and the processes of the Erlang
machine end with it.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

PORT_TAKEN = 75  # EX_TEMPFAIL: another process listens on epmd's port; try others
STOP_SECONDS = 15.0  # for a node asked to stop; then it is killed
_EPMD_SECONDS = 10.0
_POLL_SECONDS = 0.05
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Commands:
    """The commands to run, in the reaper's own environment."""

    epmd: Sequence[str]
    epmd_port: int
    node: Sequence[str]
    console: str  # the file for the output of both


def main(text: str) -> int:
    """Run the commands, given as JSON, until they end or are to be ended; return the exit status."""
    commands = Commands(**json.loads(text))
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with Path(commands.console).open("ab") as console:
        try:
            return _run(commands, console)
        finally:
            _end_everything()


def _run(commands: Commands, console: BinaryIO) -> int:
    epmd = _spawn(commands.epmd, console)
    if not _listens(epmd, commands.epmd_port):
        return PORT_TAKEN
    node = _spawn(commands.node, console)
    print(node.pid, flush=True)  # noqa: T201  # the parent waits for it
    deadline = None
    while node.poll() is None:
        if epmd.poll() is not None:
            return PORT_TAKEN
        if deadline is not None and time.monotonic() > deadline:
            break
        if select.select([0], [], [], _POLL_SECONDS)[0]:
            if not os.read(0, 64):
                break
            deadline = time.monotonic() + STOP_SECONDS
            _ask_to_stop(node.pid)
    return 0


def _spawn(command: Sequence[str], console: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  # the command comes from our own code
        command,
        stdin=subprocess.DEVNULL,
        stdout=console,
        stderr=console,
        process_group=0,
        preexec_fn=die_with_parent,  # noqa: PLW1509  # one thread only, so nothing can be held locked
    )


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends. Call it between fork and exec."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def _listens(epmd: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + _EPMD_SECONDS
    while epmd.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        time.sleep(0.01)
    return False


def _ask_to_stop(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
        os.killpg(group, signal.SIGCONT)  # a paused node does not process SIGTERM


def _end_everything() -> None:
    """Kill all descendants. Each round may make further orphans children of this process, so it repeats."""
    deadline = time.monotonic() + 5
    while _has_children() and time.monotonic() < deadline:
        for pid in list(_descendants(os.getpid())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _has_children() -> bool:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
        return True
    return False


def _descendants(ancestor: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # Fields follow the command's name, which is in parentheses and may hold any character.
                after_name = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                children.setdefault(int(after_name[1]), []).append(int(entry.name))
    seen = [ancestor]
    for pid in seen:
        seen.extend(children.get(pid, ()))
        if pid != ancestor:
            yield pid


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
