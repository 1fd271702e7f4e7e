"""The event loop in tests without waiting (`looptime`): when all tasks sleep, its clock jumps to the next timer."""

import asyncio


def loop_time() -> float:
    """Return the time of the running event loop in seconds."""
    return asyncio.get_running_loop().time()


async def settled() -> None:
    """Return when every other task waits for something."""
    await asyncio.sleep(0.001)
