"""The clock of the event loop, for what takes a clock."""

import asyncio


def loop_time() -> float:
    """Return the time of the running event loop in seconds; `tests/unit/worker` waits for none of it."""
    return asyncio.get_running_loop().time()
