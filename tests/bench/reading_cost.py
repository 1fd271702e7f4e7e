"""Reads each hostile body in a process of its own, and prints the memory and time.

Prints a line for each body: MiB, the milliseconds of the longest step, and the steps. Arguments are names of bodies.
Exits with 1 if a body exceeds a limit: 60 MiB and half a second, which a worker may lose, or less for bodies of which
a hundred may come at once. A body that takes long must be read in many steps.
"""

import multiprocessing
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from service.core.delivery import Delivery
from service.core.headers import read_history
from service.core.request.parsing import parse
from tests.support.hostile import GZIP, JSON, XML


def memory(name: str) -> float:
    """Read a value of the kernel about this process, in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


BODIES: Final = {
    **{f"JSON: {name}": (make, "application/json", None) for name, make in JSON.items()},
    **{f"XML: {name}": (make, "application/xml", None) for name, make in XML.items()},
    **{f"GZIP: {name}": (make, "application/json", "gzip") for name, make in GZIP.items()},
}


def cost(name: str) -> tuple[float, float, int]:
    """Give the MiB that reading a body takes at most, the milliseconds of its longest step, and the steps."""
    make, content_type, content_encoding = BODIES[name]
    delivery = Delivery(make(), content_type, content_encoding=content_encoding)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the high-water mark begins anew
    before, longest, count = memory("VmRSS"), 0.0, 0
    steps, left = parse(delivery, read_history({}, datetime.now(UTC)), str), True
    while left:
        began = time.process_time()
        left = next(steps, "done") != "done"
        longest, count = max(longest, time.process_time() - began), count + 1
    return memory("VmHWM") - before, longest * 1000, count


MOST_MIB: Final = 60
MOST_MILLISECONDS: Final = 500
SMALL: Final = {name for name in BODIES if "a few kilobytes" in name}
LONG: Final = {
    "JSON: destinations",
    "JSON: wrong destinations",
    "XML: as many destinations as may be",
    "GZIP: destinations",
}


def is_within_limits(name: str, mib: float, milliseconds: float, steps: int) -> bool:
    """Return whether reading a body costs no more than it may."""
    most_mib, most_milliseconds = (25, 60) if name in SMALL else (MOST_MIB, MOST_MILLISECONDS)
    return mib < most_mib and milliseconds < most_milliseconds and (name not in LONG or steps > 50)


def main(*wanted: str) -> int:
    """Measure these bodies; all without any name."""
    names = wanted or tuple(BODIES)
    exceeding = 0
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        for name, found in zip(names, pool.imap(cost, names, chunksize=1), strict=True):
            exceeds = not is_within_limits(name, *found)
            exceeding += exceeds
            print(f"{name:50} {found[0]:5.0f} MiB {found[1]:5.0f} ms {found[2]:5d} steps{' EXCEEDS' * exceeds}")  # noqa: T201
    return 1 if exceeding else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
