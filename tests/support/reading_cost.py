"""Reads each hostile body in a process of its own, and prints the memory and time.

Prints a JSON object: for each body MiB, the milliseconds of the longest step, and the steps.
"""

import json
import multiprocessing
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from service.core.delivery import Delivery
from service.core.headers import read_history
from service.core.request.parsing import parse_in_steps
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
    steps, left = parse_in_steps(delivery, read_history({}, datetime.now(UTC)), str), True
    while left:
        began = time.process_time()
        left = next(steps, "done") != "done"
        longest, count = max(longest, time.process_time() - began), count + 1
    return memory("VmHWM") - before, longest * 1000, count


if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        json.dump(dict(zip(BODIES, pool.map(cost, BODIES, chunksize=1), strict=True)), sys.stdout)
