"""What it costs to read what anybody may send, measured in a process of its own.

A worker may lose 60 MiB and half a second to it. The limits here are as wide, and what is seen is far below them.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hostile import GZIP, JSON, XML

MOST_MIB = 60
MOST_MILLISECONDS = 500

NAMES = [*(f"JSON: {name}" for name in JSON), *(f"XML: {name}" for name in XML), *(f"GZIP: {name}" for name in GZIP)]


@pytest.fixture(scope="module")
def costs() -> dict[str, tuple[float, float, int]]:
    """Measure each body once."""
    command = (sys.executable, "-m", "tests.support.reading_cost")
    told = subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[3]).stdout
    costs: dict[str, tuple[float, float, int]] = json.loads(told)
    return costs


@pytest.mark.parametrize("name", NAMES)
def test_no_body_takes_more_memory_or_time_than_a_worker_has_for_it(
    costs: dict[str, tuple[float, float, int]], name: str
) -> None:
    mib, milliseconds, _ = costs[name]

    assert mib < MOST_MIB
    assert milliseconds < MOST_MILLISECONDS


@pytest.mark.parametrize("name", [name for name in NAMES if "a few kilobytes" in name])
def test_many_small_bodies_do_not_add_up_to_one_that_is_large(
    costs: dict[str, tuple[float, float, int]], name: str
) -> None:
    """A hundred of them may come at once."""
    mib, milliseconds, _ = costs[name]

    assert mib < 25
    assert milliseconds < 60  # a quarter of that is usual


@pytest.mark.parametrize(
    "name",
    [
        "JSON: destinations",
        "JSON: wrong destinations",
        "XML: as many destinations as may be",
        "GZIP: destinations",
    ],
)
def test_what_takes_long_is_read_in_many_steps(costs: dict[str, tuple[float, float, int]], name: str) -> None:
    assert costs[name][2] > 50
