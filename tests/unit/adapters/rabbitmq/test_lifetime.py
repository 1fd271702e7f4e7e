import asyncio
import gc

import pytest

from service.adapters.rabbitmq.lifetime import ConnectionLifetime


async def fail() -> None:
    raise ConnectionError


@pytest.mark.parametrize("seconds", [0, 1])
async def test_an_exception_in_a_request_that_is_not_awaited_is_not_logged(seconds: float) -> None:
    logged: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
    await ConnectionLifetime().give(fail(), seconds)
    await asyncio.sleep(0.01)
    gc.collect()

    assert logged == []
