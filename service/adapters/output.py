"""Standard output as any terminal or pipe may be: without some characters, or with a reader that has gone.

It imports nothing of the table's library, since every command needs it, `--help` too.
"""

import asyncio
import codecs
import contextlib
import io
import os
import stat
import sys
from collections.abc import Callable, Iterator
from typing import Final

_ESCAPING: Final = "omni-relay.escape"


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Write what the terminal's encoding lacks as JSON escapes: a line of JSON stays one that means the same."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)), error.end


codecs.register_error(_ESCAPING, _escape)


def make_output_total() -> None:
    """Have standard output and error take every character, whatever their encoding."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPING)


@contextlib.contextmanager
def noticing_closed_output(on_closed: Callable[[], object]) -> Iterator[None]:
    """Call `on_closed` when the reader of standard output is gone, where that is a pipe (`| head`).

    Without it, a command that waits would find out only when it writes next.
    """
    descriptor = _pipe()
    if descriptor is None:
        yield
        return
    loop = asyncio.get_running_loop()

    def closed() -> None:
        loop.remove_reader(descriptor)  # else the loop would call this again at once, and go on
        on_closed()

    # The end that is written to is never readable; with its reader gone the loop sees an error, which it counts so.
    loop.add_reader(descriptor, closed)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)


def _pipe() -> int | None:
    """Give the descriptor of standard output where that is a pipe."""
    try:
        descriptor = sys.stdout.fileno()
        return descriptor if stat.S_ISFIFO(os.fstat(descriptor).st_mode) else None
    except (OSError, ValueError, AttributeError):  # there is no standard output, or it is no file
        return None


def discard_output() -> None:
    """Write no more: the interpreter flushes standard output as it ends, and would fail where the reader is gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
