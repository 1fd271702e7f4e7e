"""The receiver's questions to the shared memory."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from service.adapters.settings import load_settings
from service.core.attempt.start_record import MemoryUnavailableError
from service.core.result.origin import UNKNOWN, Origin, origin_name
from service.receiver.origins import Origins, origins
from tests.support.loop import loop_time

if TYPE_CHECKING:
    from service.adapters.memory import MemoryConnection


@dataclass(eq=False)
class Server:
    """A memory with one message, and one connection at a time."""

    is_down: bool = False
    is_silent: bool = False
    tries: int = 0
    on_lost: Callable[[MemoryUnavailableError], None] = lambda _: None
    story: list[str] = field(default_factory=list)

    async def connect(self, on_lost: Callable[[MemoryUnavailableError], None]) -> "tuple[MemoryConnection, str]":
        self.tries += 1
        if self.is_down:
            raise MemoryUnavailableError("no_connection")
        self.on_lost = on_lost
        return cast("MemoryConnection", self), "generation"

    async def get_all(self, names: Sequence[str]) -> list[bytes | None]:
        if self.is_silent:
            raise MemoryUnavailableError("timeout")
        return [b'["order-1",{}]' if name == origin_name("m-1") else None for name in names]

    def close(self) -> None:
        self.story.append("closed")


async def test_messages_are_known_while_the_memory_answers() -> None:
    server = Server(is_down=True)
    asked = Origins(server.connect, lambda: server.story.append("connected"), server.story.append, 9)
    running = asyncio.create_task(asked.run())
    await asyncio.sleep(5)
    assert await asked.find(["m-1", "m-2"]) == [UNKNOWN] * 2
    server.is_down = False
    await asyncio.sleep(10)
    assert await asked.find(["m-1", "m-2"]) == [Origin("order-1", {}), UNKNOWN]
    server.is_silent = True
    assert await asked.find(["m-1"]) == [UNKNOWN]
    server.on_lost(MemoryUnavailableError("timeout"))
    await asyncio.sleep(0.1)
    server.is_silent = False
    assert await asked.find(["m-1"]) == [UNKNOWN]
    await asyncio.sleep(2)
    assert await asked.find(["m-1"]) == [Origin("order-1", {})]
    assert server.story == ["no_connection", "connected", "timeout", "closed", "connected"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_memory_that_is_down_is_tried_less_and_less_often() -> None:
    server, began = Server(is_down=True), loop_time()
    running = asyncio.create_task(Origins(server.connect, lambda: None, lambda _: None, 9).run())
    await asyncio.sleep(300)
    assert loop_time() - began >= 300
    assert 10 < server.tries < 20
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_memory_at_another_address_is_used_at_once_and_a_pause_is_cut_short() -> None:
    old, new = Server(), Server(is_down=True)
    asked = Origins(old.connect, lambda: old.story.append("connected"), old.story.append, 9)
    running = asyncio.create_task(asked.run())
    await asyncio.sleep(1)
    asked.use(old.connect, elsewhere=False)  # as when only an authority changed
    await asyncio.sleep(1)
    assert old.story == ["connected"]
    asked.use(new.connect, elsewhere=True)
    old.on_lost(MemoryUnavailableError("no_connection"))
    await asyncio.sleep(300)  # the pauses are long by now
    assert old.story == ["connected", "closed", "no_connection"]
    new.is_down = False
    asked.use(new.connect, elsewhere=True)
    await asyncio.sleep(0.1)
    assert await asked.find(["m-1"]) == [Origin("order-1", {})]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_without_the_setting_there_is_none_to_ask() -> None:
    assert origins(load_settings({}), lambda: None, lambda _: None) is None
    asked = origins(load_settings({"RELAY_MEMORY_URL": "redis://127.0.0.1:1"}), lambda: None, lambda _: None)
    assert asked is not None
    assert await asked.find(["m-1"]) == [UNKNOWN]
