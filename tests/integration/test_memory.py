"""The client of the shared memory, with a real Redis server."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import hiredis
import pytest

from service.adapters.memory import ANSWER, Confirmed, MemoryConnection, connect
from service.adapters.metrics import Metrics
from service.core.attempt.claim import Claim
from service.core.attempt.start_record import MemoryUnavailableError
from service.core.result.event import StatusEvent
from service.worker.memory import SharedMemory
from service.worker.telemetry import Telemetry
from tests.support.builder import NOW
from tests.support.loop import loop_time
from tests.support.memory import MemoryServer
from tests.support.proxy import Proxy
from tests.support.tls import certificate, forwarded, server_of


@pytest.fixture
async def connection(memory: MemoryServer) -> AsyncIterator[MemoryConnection]:
    """Make a connection."""
    connection, _ = await connect(memory.url, None, lambda _: None)
    yield connection
    connection.close()
    await asyncio.sleep(0)


async def cause_of(url: str, ca_file: str | None = None) -> str:
    with pytest.raises(MemoryUnavailableError) as raised:
        await connect(url, ca_file, lambda _: None)
    return raised.value.cause


async def test_commands_of_one_turn_are_applied_in_order(connection: MemoryConnection) -> None:
    connection.put_if_absent("a", "first", 10)
    connection.put_if_absent("b", "first", 10)
    await asyncio.gather(connection.put(["a"], "second", 10), connection.put(["c"], "second", 10))
    assert await asyncio.gather(*map(connection.get, "abcd")) == [b"second", b"first", b"second", None]
    connection.put_if_absent("a", "third", 10)
    assert await connection.get("a") == b"second"


async def test_a_value_is_exchanged_only_if_it_is_still_the_same(connection: MemoryConnection) -> None:
    await connection.put(["a"], "1", 10)
    assert await asyncio.gather(*(connection.exchange("a", b"1", new, 10) for new in "23")) == [True, False]
    assert await connection.get("a") == b"2"


async def test_of_claims_that_are_made_in_one_turn_each_is_made_once(connection: MemoryConnection) -> None:
    connection.put_if_absent("a", "untouched", 10)
    connection.put_if_absent("b", "untouched", 10)
    made = await asyncio.gather(
        connection.start([], [("a", "r1", "m w.1\n"), ("b", "r2", "m w.2\n")], "started", 10),
        connection.start(["d"], [("c", "r1", "m w.3\n")], "started", 10),
        connection.start(["e"], [], "started", 10),
        connection.start([], [], "started", 10),
        connection.start([], [("f", "r3", "m w.4\n")], "started", 10),
    )
    assert list(made) == [[b"", b""], [b"m w.1\n"], [], [], [b""]]
    assert await connection.start([], [("a", "r1", "m w.1\n")], "started", 10) == [b""]
    started = [name for name in "abcdef" if await connection.get(name) == b"started"]
    assert started == ["a", "b", "d", "e", "f"]


async def test_an_end_is_appended_to_a_claim_unless_another_holder_has_it_and_makes_one_that_was_lost(
    connection: MemoryConnection,
) -> None:
    await connection.start([], [("a", "r1", "m w.1\n"), ("b", "r2", "m w.2\n")], "started", 10)
    ends = [
        connection.end("a", "r1", ("m w.1\n", "m ~\n"), "[1]\n", 10),
        connection.end("", "r1", ("m x.1\n", "m ~\n"), "[2]\n", 10),
        connection.end("", "r2", ("m w.7\n", "m ~\n"), "[3]\n", 10),
        connection.end("", "r2", ("other w.7\n", "other ~\n"), "[4]\n", 10),
        connection.end("", "r3", ("m w.3\n", "m ~\n"), "[5]\n", 10),
        connection.end("a", "r1", ("m w.1\n", "m ~\n"), "[1]\n", 10),
    ]
    found = [await end for end in ends]
    assert found == [b"", b"m ~\n[1]\n", b"m w.2\n", b"", b"", b""]  # the last one is the first one, given again
    assert await connection.get("r1") == b"m ~\n[1]\n"
    assert await connection.get("r2") == b"m w.2\n"
    assert await connection.get("r3") == b"m ~\n[5]\n"
    assert (await connection.get("a"), await connection.get("b")) == (None, b"started")
    await connection.release("r1", "m w.1\n", "m -\n", 10)
    await connection.release("r2", "m w.2\n", "m -\n", 10)
    assert await connection.get("r1") == b"m ~\n[1]\n"
    assert await connection.get("r2") == b"m -\n"


async def test_the_end_of_a_part_is_appended_to_the_request_unless_another_holder_has_the_part(
    connection: MemoryConnection,
) -> None:
    await connection.start([], [("a", "r", "m w.1\n"), ("b", "p1", "m w.2\n"), ("c", "p2", "m w.8\n")], "x", 10)
    ended = ("m w.2\n", "m ~\n", "[1]\n[2]\n", "m ~\n", "[1]\n")
    assert [await connection.end_part(("r", "p1", "b"), ended, 10) for _ in "12"] == [b"", b""]
    assert (
        await connection.end_part(("r", "p2", "c"), ("m w.3\n", "m ~\n", "[3]\n", "m ~\n", "[3]\n"), 10) == b"m w.8\n"
    )
    assert await connection.end_part(("r",), ("", "", "", "m ~\n", "[4]\n"), 10) == b""
    assert await connection.end_part(("r",), ("", "", "", "other ~\n", "[5]\n"), 10) == b""
    assert await connection.end_part(("lost", "p3", "p3"), ended, 10) == b""
    assert await connection.get("p1") == b"m ~\n[1]\n[2]\n"
    assert await connection.get("r") == b"m w.1\n[1]\n[4]\n"
    assert (await connection.get("lost"), await connection.get("p3")) == (b"m ~\n[1]\n", b"m ~\n[1]\n[2]\n")
    assert (await connection.get("b"), await connection.get("c")) == (None, b"x")


async def test_a_claim_whose_end_is_being_recorded_is_not_taken_over_by_a_duplicate_of_the_same_worker(
    memory: MemoryServer,
) -> None:
    """An end is written after everything else of its turn: so the claim is held until then."""
    telemetry = Telemetry(Metrics(), lambda: NOW, loop_time)
    shared = SharedMemory(lambda lost: connect(memory.url, None, lost), telemetry, loop_time, kept=10)
    running = asyncio.create_task(shared.run())
    await shared.tried.wait()
    worker = shared._worker  # noqa: SLF001 - holders are named after it
    first, duplicate = (Claim("x", "r1", "m", f"{worker}.{number}", may_take_over=number > 1) for number in (1, 2))
    assert await shared.start_one(first)

    async def end() -> bytes:
        await shared.start([Claim("y", "r2", "m", f"{worker}.3")])  # in one command with that of the duplicate
        return await shared.end(
            first, [StatusEvent("message.accepted", NOW, "r", 1, "m-1")], "", is_whole=True, is_complete=True
        )

    found, _ = await asyncio.gather(end(), shared.start([duplicate]))
    assert (found, duplicate.is_refused) == (b"", True)
    third = Claim("z", "r1", "m", f"{worker}.4", may_take_over=True)
    await shared.start([third])
    assert (third.known or b"").startswith(b'm ~\n["accepted"')
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_is_recorded_without_being_waited_for_never_fails(memory: MemoryServer) -> None:
    connection, _ = await connect(memory.url, None, lambda _: None)
    waiting = connection.end("a", "r1", ("m w.1\n", "m ~\n"), "[1]\n", 10)
    connection.close()
    await waiting
    await connection.release("r1", "m w.1\n", "m -\n", 10)


async def test_a_defect_in_one_end_concerns_this_one_only(connection: MemoryConnection) -> None:
    def broken(_: MemoryConnection, __: Confirmed) -> None:
        raise ValueError

    def whole(given: MemoryConnection, confirmed: Confirmed) -> None:
        given.end("a", "r1", ("m w.1\n", "m ~\n"), "[1]\n", 10, confirmed=confirmed)

    late = [connection.give_late(give) for give in (whole, broken, whole)]
    found = await asyncio.gather(*[_awaited(one) for one in late], return_exceptions=True)
    assert [type(one) for one in found] == [bytes, ValueError, bytes]
    assert await connection.get("r1") == b"m ~\n[1]\n"
    unwritten = connection.give_late(whole)
    connection.close()
    assert (await unwritten, await connection.give_late(whole)) == (None, None)


async def _awaited(confirmed: Confirmed) -> bytes | None:
    return await confirmed


async def test_an_answer_of_another_form_confirms_nothing() -> None:
    answers = {b"SCRIPT": b"$1\r\nx\r\n", b"INFO": b"$0\r\n\r\n", b"EVALSHA": b"*1\r\n$0\r\n\r\n"}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = hiredis.Reader()
        while data := await reader.read(65536):
            parser.feed(data)
            while command := parser.gets():
                writer.write(answers.get(command[0], b"+OK\r\n"))
        writer.close()
        await writer.wait_closed()
        ended.set()

    ended = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        connection, _ = await connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", None, lambda _: None)
        assert await connection.start([], [("a", "r1", "m w.1\n")], "x", 10) == [b""]
        with pytest.raises(MemoryUnavailableError) as raised:
            await connection.start([], [("a", "r1", "m w.1\n"), ("b", "r2", "m w.2\n")], "x", 10)
        assert raised.value.cause == "refused"
        await ended.wait()


async def test_values_of_another_program_at_our_names_count_as_absent(
    connection: MemoryConnection, memory: MemoryServer
) -> None:
    """An error about one of them would end the connection each time, and stop sending."""
    names = ("record", "claim", "ended", "request", "part", "list")
    for name in names:
        await memory.ask("LPUSH", f"omni-relay:{name}", "x")
    assert await connection.get("record") is None
    assert not await connection.exchange("record", b"x", "y", 10)
    await connection.release("claim", "m w.1\n", "m -\n", 10)
    assert await connection.start([], [("record", "claim", "m w.1\n"), ("b", "c", "m w.2\n")], "x", 10) == [b"", b""]
    assert await connection.end("", "ended", ("m w.3\n", "m ~\n"), "[1]\n", 10) == b""
    values = ("m w.4\n", "m ~\n", "[2]\n", "m ~\n", "[2]\n")
    assert await connection.end_part(("request", "part", "part"), values, 10) == b""
    assert await connection.get_changed("list", "v1", 2, 100) == b""
    assert await connection.replace("list", "", 2, "v1", 10)
    assert await connection.get_all(names) == [b"x", b"m w.1\n", b"m ~\n[1]\n", b"m ~\n[2]\n", b"m ~\n[2]\n", b"v1"]


async def test_every_key_has_the_prefix_and_expires(connection: MemoryConnection, memory: MemoryServer) -> None:
    connection.put_if_absent("a", "x", 10)
    await connection.put(["b"], "x", 10)
    await connection.exchange("b", b"x", "y", 10)
    await connection.start([], [("c", "d", "m w.1\n")], "x", 10)
    await connection.end("", "d", ("m w.1\n", "m ~\n"), "[1]\n", 10)
    await connection.release("d", "m ~\n", "m -\n", 10)
    await connection.end("c", "e", ("m w.1\n", "m ~\n"), "[1]\n", 10)
    keys = await memory.keys()
    assert sorted(keys) == [f"omni-relay:{name}" for name in "abde"]
    left = [int((await memory.ask("PTTL", key)).strip(b":\r\n")) for key in keys]
    assert all(0 < milliseconds <= 10_000 for milliseconds in left)


async def test_the_generation_is_another_one_after_a_restart_and_after_a_failover(memory: MemoryServer) -> None:
    connection, before = await connect(memory.url, None, lambda _: None)
    assert await connection.generation() == before
    await memory.ask("REPLICAOF", "127.0.0.1", "1")
    await memory.ask("REPLICAOF", "NO", "ONE")
    promoted = await connection.generation()
    await memory.kill()
    await memory.start()
    other, after = await connect(memory.url, None, lambda _: None)
    assert len({before, promoted, after}) == 3
    connection.close()
    other.close()


async def test_a_server_that_does_not_answer_ends_the_connection_with_all_that_waits(memory: MemoryServer) -> None:
    lost: list[str] = []
    connection, _ = await connect(memory.url, None, lambda error: lost.append(error.cause))
    memory.pause()
    began = asyncio.get_running_loop().time()
    results = await asyncio.gather(
        connection.put(["a"], "x", 10), connection.get("a"), connection.time(), return_exceptions=True
    )
    assert ANSWER <= asyncio.get_running_loop().time() - began < 4 * ANSWER
    assert [type(one) for one in results] == [MemoryUnavailableError] * 3
    assert lost == ["timeout"]
    connection.put_if_absent("b", "x", 10)
    with pytest.raises(MemoryUnavailableError):
        await connection.get("b")
    memory.resume()


async def test_a_loop_that_was_busy_reads_an_answer_that_has_arrived(connection: MemoryConnection) -> None:
    asking = asyncio.create_task(connection.get("a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(2 * ANSWER)  # noqa: ASYNC251 - what is tested
    assert await asking is None


async def test_a_killed_server_ends_the_connection(memory: MemoryServer) -> None:
    ended = asyncio.Event()
    connection, _ = await connect(memory.url, None, lambda _: ended.set())
    await memory.kill()
    await asyncio.wait_for(ended.wait(), 2)
    assert connection.error is not None
    assert connection.error.cause == "no_connection"
    assert await cause_of(memory.url) == "no_connection"


async def test_a_wrong_password_is_named_and_not_repeated(tmp_path: Path) -> None:
    async with MemoryServer(tmp_path / "protected", password="right") as server:
        connection, _ = await connect(server.url, None, lambda _: None)
        connection.close()
        for password in ("wrong-one", ""):
            with pytest.raises(MemoryUnavailableError) as raised:
                await connect(server.url.replace("right", password), None, lambda _: None)
            assert raised.value.cause == "login_refused"
            assert "wrong-one" not in f"{raised.value!r} {raised.value.__cause__!r}"


async def test_the_rights_that_the_documents_name_are_enough_and_needed(memory: MemoryServer) -> None:
    text = (Path(__file__).parents[2] / "deploy/memory.md").read_text()
    rights = text.partition("rights is enough: `")[2].partition("`")[0]
    await memory.ask("ACL", "SETUSER", "relay", "on", ">secret", rights)
    await memory.ask("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+get", "+info", "+client")
    url = memory.url.replace("redis://", "redis://relay:secret@")
    connection, _ = await connect(url, None, lambda _: None)
    connection.put_if_absent("a", "x", 10)
    await connection.put(["a"], "y", 10)
    assert await connection.exchange("a", b"y", "z", 10)
    assert (await connection.get("a"), await connection.time() > 0) == (b"z", True)
    assert await connection.start(["b"], [("c", "d", "m w.1\n")], "x", 10) == [b""]
    await connection.end("c", "d", ("m w.1\n", "m ~\n"), "[1]\n", 10)
    await connection.release("d", "m ~\n", "m -\n", 10)
    connection.put_each([("e", "1"), ("f", "2")], 10)
    assert await connection.get_all(["c", "d", "e", "f"]) == [None, b"m -\n[1]\n", b"1", b"2"]
    connection.close()
    assert await cause_of(url.replace("relay", "reader")) == "not_permitted"


async def test_a_full_server_and_a_replica_are_named(memory: MemoryServer) -> None:
    for command, cause in (
        (("CONFIG", "SET", "maxmemory", "1"), "full"),
        (("REPLICAOF", "127.0.0.1", "1"), "read_only"),
    ):
        connection, _ = await connect(memory.url, None, lambda _: None)
        await memory.ask(*command)
        with pytest.raises(MemoryUnavailableError) as raised:
            await connection.put(["a"], "x", 10)
        assert raised.value.cause == cause
        await memory.ask("CONFIG", "SET", "maxmemory", "0")


async def test_tls_is_verified_against_the_authorities_that_are_named(memory: MemoryServer, tmp_path: Path) -> None:
    files = certificate(tmp_path)
    async with forwarded(memory.port, server_of(files)) as port:
        url = f"rediss://localhost:{port}"
        assert await cause_of(url) == "untrusted_certificate"
        connection, _ = await connect(url, str(files[0]), lambda _: None)
        await connection.put(["a"], "x", 10)
        connection.close()
        await asyncio.sleep(0.05)


async def test_a_network_that_holds_everything_is_a_timeout(memory: MemoryServer) -> None:
    async with Proxy(memory.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        connection, _ = await connect(url, None, lambda _: None)
        proxy.hold()
        with pytest.raises(MemoryUnavailableError):
            await connection.put(["a"], "x", 10)
        assert connection.error is not None
        assert connection.error.cause == "timeout"
        proxy.release()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"+OK\r\n" * 50,
        b":1\r\n" * 50,
        b"*0\r\n" * 50,
        b"-ERR no\r\n",
        b"\x00\xff" * 50,
        b"",
    ],
    ids=["HTTP", "OK", "numbers", "lists", "error", "garbage", "nothing"],
)
async def test_another_program_than_redis_is_only_unavailable(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await asyncio.sleep(0.2)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await cause_of(url) in {"refused", "no_connection", "timeout"}
        await asyncio.sleep(0.3)


def test_without_the_setting_the_client_is_not_imported() -> None:
    program = """
import asyncio, sys
from service.adapters.settings import Settings, SettingsSource
from service.worker.app import Worker

async def made(**settings):
    Worker(Settings(omni_api_key="k", **settings), SettingsSource({}))
    return sorted({"redis", "hiredis"} & set(sys.modules))

print(asyncio.run(made()), asyncio.run(made(memory_url="redis://localhost")))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert ran.stdout == "[] ['hiredis', 'redis']\n", ran.stderr


async def test_a_value_is_read_again_only_if_its_version_has_changed(
    connection: MemoryConnection, memory: MemoryServer
) -> None:
    assert await connection.get_changed("a", "", 2, 100) is None
    assert await connection.replace("a", "", 2, "v1 first", 10)
    assert not await connection.replace("a", "", 2, "v2", 10)
    assert await connection.get_changed("a", "", 2, 100) == b"v1 first"
    assert await connection.get_changed("a", "v1", 2, 100) is None
    assert [await connection.replace("a", "v1", 2, f"v{new}", 10) for new in "23"] == [True, False]
    assert await connection.get_changed("a", "v1", 2, 100) == b"v2"
    await connection.replace("a", "v2", 2, "v4" + "x" * 99, 10)
    assert await connection.get_changed("a", "v2", 2, 100) == b"v4"
    assert 0 < int((await memory.ask("PTTL", "omni-relay:a")).strip(b":\r\n")) <= 10_000
    await memory.ask("FLUSHALL")
    assert await connection.get_changed("a", "v4", 2, 100) == b""
