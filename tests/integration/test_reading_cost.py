"""The memory and time for reading hostile bodies, each measured in a process of its own.

A worker may lose 60 MiB and half a second to it. The limits here are as wide, and what is seen is far below them.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.hostile import GZIP, JSON, XML

MOST_MIB = 60
MOST_MILLISECONDS = 500

NAMES: Final = {
    *(f"JSON: {name}" for name in JSON),
    *(f"XML: {name}" for name in XML),
    *(f"GZIP: {name}" for name in GZIP),
}
SMALL: Final = {name for name in NAMES if "a few kilobytes" in name}
"""Bodies of which a hundred may come at once."""
LONG: Final = {
    "JSON: destinations",
    "JSON: wrong destinations",
    "XML: as many destinations as may be",
    "GZIP: destinations",
}
"""Bodies that take long to read."""


def measured() -> dict[str, tuple[float, float, int]]:
    """Measure each body once: MiB, milliseconds of the longest step, steps."""
    command = (sys.executable, "-m", "tests.support.reading_cost")
    output = subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[2]).stdout
    costs: dict[str, tuple[float, float, int]] = json.loads(output)
    return costs


@pytest.mark.long
@pytest.mark.timeout(180)  # it reads seventy bodies, each in a process of its own
def test_no_body_takes_more_memory_or_time_than_its_limit() -> None:
    """Many small ones do not add up to one that is large, and what takes long is read in many steps."""
    costs = measured()
    most = {name: (25, 60) if name in SMALL else (MOST_MIB, MOST_MILLISECONDS) for name in NAMES}

    assert costs.keys() == NAMES
    assert SMALL
    assert {
        name: (mib, milliseconds)
        for name, (mib, milliseconds, _) in costs.items()
        if mib >= most[name][0] or milliseconds >= most[name][1]
    } == {}
    assert {name: steps for name, (_, _, steps) in costs.items() if name in LONG and steps <= 50} == {}
