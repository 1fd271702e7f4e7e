"""The clock of the event loop, for what takes a clock."""

import asyncio


def loop_time() -> float:
    """Give the seconds that the running event loop counts. In `tests/unit/worker` they pass without being waited for."""
    return asyncio.get_running_loop().time()
