"""`omni-relay cancel` with a real Redis server."""

import asyncio

import pytest
from pydantic import SecretStr

from service.adapters.settings import Settings
from service.cli.cancel import change_orders
from service.core.attempt.cancellation import MOST_ORDERS, Change, Named, TooManyError
from service.core.attempt.start_record import MemoryUnavailableError
from tests.support.memory import MemoryServer

HOUR = 3600.0


async def change(memory: MemoryServer, *names: str, undo: bool = False) -> Change:
    settings = Settings(memory_url=SecretStr(memory.url))
    return await change_orders(settings, Named(request_ids=names), HOUR, undo=undo)


async def test_commands_at_the_same_time_lose_no_order(memory: MemoryServer) -> None:
    await asyncio.gather(*(change(memory, str(number)) for number in range(10)))
    done = await asyncio.gather(change(memory, "0", undo=True), change(memory, "1", undo=True), change(memory, "10"))
    assert max(one.in_force for one in done) <= 11
    assert (await change(memory, "10")).in_force == 9


async def test_the_list_expires_with_its_last_order_and_holds_no_id(memory: MemoryServer) -> None:
    await change(memory, "order-8812")
    assert await memory.keys() == ["omni-relay:cancel"]
    assert 0 < int((await memory.ask("PTTL", "omni-relay:cancel")).strip(b":\r\n")) <= 1000 * HOUR
    assert b"8812" not in await memory.ask("GET", "omni-relay:cancel")


async def test_a_full_list_refuses_more_and_still_undoes(memory: MemoryServer) -> None:
    names = tuple(map(str, range(MOST_ORDERS)))
    assert (await change(memory, *names)).in_force == MOST_ORDERS
    with pytest.raises(TooManyError):
        await change(memory, "one more")
    assert (await change(memory, *names, undo=True)).in_force == 0


@pytest.mark.parametrize("value", ["garbage", "x" * 2**21])
async def test_a_value_that_is_no_list_is_replaced(memory: MemoryServer, value: str) -> None:
    await memory.ask("SET", "omni-relay:cancel", value)
    assert (await change(memory, "a")).in_force == 1


async def test_an_order_that_the_memory_has_lost_can_be_undone(memory: MemoryServer) -> None:
    await change(memory, "a")
    await memory.ask("FLUSHALL")
    assert (await change(memory, "a", undo=True)).changed == 0
    assert b"-" in await memory.ask("GET", "omni-relay:cancel")


async def test_a_memory_that_is_away_is_an_error(memory: MemoryServer) -> None:
    await memory.kill()
    with pytest.raises(MemoryUnavailableError):
        await change(memory, "a")
