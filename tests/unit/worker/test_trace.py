import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import structlog

import service
from service import COMPILED
from service.adapters.logging import configure_logs
from tests.trace import trace_one

README: Final = Path(service.__file__).with_name("README.md")


@pytest.fixture
def _logging() -> Iterator[None]:
    """Log as a worker does, to nowhere."""
    root, level = logging.getLogger(), logging.getLogger("service").level
    before = root.handlers, root.level
    configure_logs("json", "info", 1)
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(io.StringIO())
    yield
    structlog.reset_defaults()
    root.handlers, root.level = before
    logging.getLogger("service").setLevel(level)


@pytest.mark.skipif(COMPILED, reason="the interpreter calls no profiler for compiled functions")
@pytest.mark.usefixtures("_logging")
async def test_an_accepted_request_passes_no_more_functions_and_files_than_the_readme_says() -> None:
    # In the moment in which a timer fires or a second ends, a few functions more are called.
    trace = min([await trace_one() for _ in range(3)], key=lambda trace: len(trace.functions))

    written = re.search(r"(\d+) functions in (\d+) files, (\d+) calls into a higher layer, (\d+)", README.read_text())
    assert written is not None
    figures = len(trace.functions), len(trace.files), len(trace.climbs), len(trace.waiting)
    assert all(figure <= int(most) for figure, most in zip(figures, written.groups(), strict=True)), figures
