"""In these tests no time is waited for: when all tasks sleep, the event loop's clock jumps to the next timer."""

from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder; the hook is given those of all folders."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.looptime(noop_cycles=1))
