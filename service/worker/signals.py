"""Signals: stop, stop at once, read the secrets again."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable


def listen_for_signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Return the event that SIGTERM or SIGINT sets, and the one that a second signal sets."""
    stop, abort = asyncio.Event(), asyncio.Event()

    def ask() -> None:
        (abort if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ask)
    return stop, abort


def listen_for_reload(reload: Callable[[], None]) -> None:
    """Call a function on SIGHUP, which would end the process otherwise."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)


def stop_with_parent(stop: asyncio.Event) -> None:
    """Stop when standard input ends: the process that held its other end is gone."""
    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()

    def read() -> None:
        if not os.read(descriptor, 1):
            loop.remove_reader(descriptor)
            stop.set()

    loop.add_reader(descriptor, read)
