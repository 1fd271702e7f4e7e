"""The memory and time for reading the hostile bodies that cost most; the benchmark measures all."""

import subprocess
import sys
from pathlib import Path

import pytest

COSTLY = (
    "JSON: destinations",
    "JSON: wrong destinations",
    "JSON: a few kilobytes of faults",
    "JSON: a few kilobytes of empty destinations",
    "JSON: one destination with many names",
    "JSON: metadata",
    "XML: as many destinations as may be",
    "XML: wide characters",
    "GZIP: destinations",
    "GZIP: more zeros than a request has",
)


@pytest.mark.timeout(60)
def test_no_body_takes_more_memory_or_time_than_its_limit() -> None:
    command = (sys.executable, "-m", "tests.bench.reading_cost", *COSTLY)
    ended = subprocess.run(command, check=False, capture_output=True, cwd=Path(__file__).parents[2], text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
