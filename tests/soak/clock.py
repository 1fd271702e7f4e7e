"""A wall clock that steps, for the processes that are started with it. Their monotonic clock is the machine's own.

It takes Debian's package `faketime`. Its library answers when a process asks for the time, and reads the offset from a
file at each such call.
"""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Final

_LIBRARY: Final = "*/faketime/libfaketimeMT.so.1"
_FOLDERS: Final = (Path("/usr/lib"), Path("/usr/local/lib"))
MAX_STEP: Final = 5.0
"""Seconds by which the clock may be wrong, either way."""
_MIN_PAUSE, _MAX_PAUSE = 1.0, 4.0


class SteppingClock:
    """Its offset to the true time, in seconds, is in a file."""

    def __init__(self, file: Path, draw: random.Random) -> None:
        self._file = file
        self._draw = draw
        self._set(0.0)

    def environment(self) -> dict[str, str]:
        """Give the variables that make a process use it. Raises `FileNotFoundError` where the library is missing."""
        found = next((path for folder in _FOLDERS for path in folder.glob(_LIBRARY)), None)
        if found is None:
            raise FileNotFoundError("libfaketime is missing: install the package faketime")
        return {
            "LD_PRELOAD": str(found),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    async def step(self, done: Counter[str]) -> None:
        """Step every few seconds until cancelled, and count it."""
        while True:
            await asyncio.sleep(self._draw.uniform(_MIN_PAUSE, _MAX_PAUSE))
            self._set(self._draw.uniform(-MAX_STEP, MAX_STEP))
            done["clock step"] += 1

    def _set(self, offset: float) -> None:
        """Replace the file as a whole: it is read at any moment."""
        written = self._file.with_suffix(".new")
        written.write_text(f"{offset:+.3f}s\n", encoding="ascii")
        written.replace(self._file)
