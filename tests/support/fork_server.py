"""A process that has imported the relay once, and forks a process for each command: a start costs 0.1 s instead of 1 s.

What is forked is the whole program with arguments, environment, directory and standard files of its own. A supervisor's
workers, the demo, and whatever changes the program or needs a library preloaded are executed.
"""

import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
import struct
import sys
from importlib import import_module
from typing import Final, NoReturn

IMPORTED: Final = (
    *(
        f"service.cli.{name}"
        for name in ("check", "dead", "explain", "find", "main", "reports", "send", "status", "watch", "worker")
    ),
    "service.worker.app",
    "uvicorn.server",
)
NUMBER: Final = struct.Struct("=i")
_REQUEST: Final = 2**20
"""Bytes that a request has at most."""
_SET_PARENT_DEATH_SIGNAL: Final = 1


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def serve(requests: socket.socket) -> None:
    """Fork a program for each request, until the socket is closed.

    A request is JSON with `arguments`, `environment` and `directory`, and four file descriptors: standard input, output
    and error, and a pipe for two numbers: the process id, and, when it has ended, its `Popen.returncode`.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, _REQUEST, 4)
        if not request:
            return
        if os.fork() == 0:
            requests.close()
            _watch(json.loads(request), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _watch(request: dict[str, object], descriptors: list[int]) -> None:
    """Fork the program, and report how it ends. Only the program itself returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    die_with_parent()
    report = descriptors[3]
    if (program := os.fork()) == 0:
        os.close(report)
        _become(request, descriptors[:3])
    with contextlib.suppress(BrokenPipeError):
        os.write(report, NUMBER.pack(program))
        _, status = os.waitpid(program, 0)
        os.write(report, NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _become(request: dict[str, object], standard: list[int]) -> NoReturn:
    die_with_parent()
    os.setsid()
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    os.chdir(str(request["directory"]))
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]  # the test's own
    sys.argv = ["omni-relay", *request["arguments"]]  # type: ignore[misc]  # the same
    sys.exit(import_module("service.cli.main").main())


if __name__ == "__main__":
    die_with_parent()
    for name in IMPORTED:
        import_module(name)
    gc.collect()
    gc.freeze()  # a fork that collects garbage would otherwise walk through all modules, and copy their pages
    serve(socket.socket(fileno=0))
