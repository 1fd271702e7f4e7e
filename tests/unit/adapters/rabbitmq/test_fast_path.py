"""The fast path: what is written, and what is not."""

import asyncio
from typing import cast

import pytest
from aiormq.abc import AbstractChannel as RawChannel

from service.adapters.rabbitmq import Acknowledger
from service.adapters.rabbitmq.fast_path import FastPath
from service.adapters.rabbitmq.lifetime import ConnectionLifetime
from service.core.delivery import Publication


class Wire(asyncio.Transport):
    """An open connection that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False


async def test_after_the_end_of_its_session_nothing_is_settled_or_published_over_an_open_connection() -> None:
    fast_path, wire, life = FastPath(asyncio.StreamReader()), Wire(), ConnectionLifetime()
    fast_path.connection_made(wire)
    fast_path.begin(1, 2, 0)
    life.set()

    acknowledger = Acknowledger(cast("RawChannel", None), 1, life, fast_path)
    with pytest.raises(ConnectionResetError):
        await acknowledger.ack()
    with pytest.raises(ConnectionResetError):
        await acknowledger.dead_letter()
    ((_, error),) = await fast_path.publish([Publication("", "q", b"", "text/plain", "m-1")], life)
    fast_path.flush()

    assert isinstance(error, ConnectionResetError)
    assert not wire.written
