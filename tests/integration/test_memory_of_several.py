"""The client of the shared memory, with a real cluster, and with a primary that a real sentinel watches."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from service.adapters.memory import connect
from service.core.attempt.start_record import MemoryUnavailableError
from service.demo.rabbitmq.ports import free_port
from tests.support.memory import MemoryServer

NOTHING = ("--save", "", "--appendonly", "no")


async def until(is_true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await is_true():  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.05)


@asynccontextmanager
async def cluster(directory: Path) -> AsyncIterator[list[MemoryServer]]:
    """Run three nodes."""
    async with AsyncExitStack() as stack:
        options = (*NOTHING, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port")
        nodes = [MemoryServer(directory / str(number), (*options, str(free_port()))) for number in range(3)]
        await asyncio.gather(*(stack.enter_async_context(node) for node in nodes))
        for number, node in enumerate(nodes):
            first, last = (0, 5460, 10922, 16383)[number] + (number > 0), (0, 5460, 10922, 16383)[number + 1]
            await node.ask("CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
            await node.ask("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))

        for node in nodes[1:]:  # once: each meeting adds a node until it has ended
            await nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", str(node.port), node.options[-1])

        async def is_complete() -> bool:
            answers = [await node.ask("CLUSTER", "INFO") for node in nodes]
            return all(b"cluster_state:ok" in one and b"cluster_known_nodes:3" in one for one in answers)

        await until(is_complete)
        yield nodes


async def test_a_cluster_is_used_by_any_of_its_nodes_and_all_keys_are_in_one_slot(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        urls = [f"redis+cluster://127.0.0.1:{node.port}" for node in nodes]
        first, generation = await connect(urls[0], None, lambda _: None)
        assert await first.start(["d"], [("a", "r1", "m w.1\n"), ("b", "r2{x}", "m w.2\n")], "started", 10) == [
            b"",
            b"",
        ]
        assert await first.end("a", "r1", ("m w.1\n", "m ~\n"), "[1]\n", 10) == b""
        for url in urls[1:]:
            other, same = await connect(url, None, lambda _: None)
            assert (await other.get("r1"), same) == (b"m ~\n[1]\n", generation)
            other.close()
        keys = [await node.keys() for node in nodes]
        (owner,) = [node for node, has in zip(nodes, keys, strict=True) if has]
        (dead, alive) = [node for node in nodes if node is not owner]
        await dead.kill()
        several = f"redis+cluster://127.0.0.1:{dead.port},127.0.0.1:{alive.port}"
        other, same = await connect(several, None, lambda _: None)
        assert same == generation
        other.close()
        first.close()
        plain, _ = await connect(f"redis://127.0.0.1:{alive.port}", None, lambda _: None)
        with pytest.raises(MemoryUnavailableError):
            await plain.put(["r1", "r2", "r3"], "x", 10)


async def test_a_primary_is_found_by_a_sentinel_also_after_a_failover(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(MemoryServer(tmp_path / "1", NOTHING, password="secret"))
        login = ("--masterauth", "secret")
        second = MemoryServer(
            tmp_path / "2", (*NOTHING, *login, "--replicaof", f"127.0.0.1 {first.port}"), password="secret"
        )
        await stack.enter_async_context(second)
        (tmp_path / "3").mkdir()
        file = tmp_path / "3" / "sentinel.conf"
        file.write_text(
            f"sentinel monitor relay 127.0.0.1 {first.port} 1\nsentinel auth-pass relay secret\n"
            "sentinel down-after-milliseconds relay 500\nsentinel failover-timeout relay 3000\n"
        )
        sentinel = await stack.enter_async_context(MemoryServer(tmp_path / "3", ("--sentinel",), file=file))
        url = f"redis+sentinel://:secret@127.0.0.1:1,127.0.0.1:{sentinel.port}/relay"
        connection, generation = await connect(url, None, lambda _: None)
        await connection.put(["a"], "x", 100)

        async def has_copy() -> bool:
            known = await sentinel.ask("SENTINEL", "MASTER", "relay")
            return (await second.ask("GET", "omni-relay:a")).endswith(b"x\r\n") and b"num-slaves\r\n$1\r\n1" in known

        await until(has_copy)
        await first.kill()
        connection.close()

        async def is_promoted() -> bool:
            return b"role:master" in await second.ask("INFO", "replication")

        async def is_found() -> bool:
            try:
                connection, another = await connect(url, None, lambda _: None)
            except MemoryUnavailableError:
                return False  # the sentinel names the new primary a moment later
            assert (await connection.get("a"), another == generation) == (b"x", False)
            connection.close()
            return True

        await until(is_promoted)
        await until(is_found)
        with pytest.raises(MemoryUnavailableError, match="refused"):
            await connect(url.replace("/relay", "/other"), None, lambda _: None)
