import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import aio_pika
import pytest

from service.demo.rabbitmq.install import NodeError, Server, ServerMissingError
from tests.support.broker import VirtualHost, manage, virtual_host
from tests.support.node import Node

StartNode = Callable[[], Awaitable[Node]]

_PARENT = """
import asyncio, sys
from pathlib import Path
from tests.support.node import Node

async def main() -> None:
    directory, root = sys.argv[1:]
    node = Node(Path(directory), root=Path(root) if root else None)
    print(node.name, flush=True)
    await node.start()
    print("running", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.once
def test_a_relative_path_to_a_system_tree_is_made_absolute(tmp_path: Path) -> None:
    """The command that enters it runs in the node's directory."""
    assert str(Path.cwd() / "tree") in Server(Path("tree")).command(tmp_path, "rabbitmq-server")


@pytest.mark.once
@pytest.mark.long
async def test_a_node_whose_address_is_in_use_takes_another_and_does_not_answer_while_paused(
    tmp_path: Path, rabbitmq_root: Path | None
) -> None:
    """Tests of workers show that it keeps messages and address over a crash."""
    node = Node(tmp_path, root=rabbitmq_root)
    taken = node.port
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", taken))
        stranger.listen()
        async with node:
            assert node.port != taken
            assert node.version.split(".")[0].isdigit()
            await check_pause_and_stop(node)


async def check_pause_and_stop(node: Node) -> None:
    await node.pause()
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(b"AMQP\0\0\x09\x01")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.5)
    await node.resume()
    assert await asyncio.wait_for(reader.read(1), 30)
    writer.close()
    await node.pause()
    await node.stop()  # asks first, and waits
    assert not node.running


async def test_a_missing_server_is_named_with_the_package_to_install(tmp_path: Path) -> None:
    with pytest.raises(ServerMissingError, match="install the package rabbitmq-server"):
        await Node(tmp_path / "node", root=tmp_path).start()


@pytest.mark.once
async def test_a_node_that_cannot_start_raises_an_error_with_its_log(
    tmp_path: Path, rabbitmq_root: Path | None
) -> None:
    tmp_path.joinpath("data").write_text("not a directory")
    with pytest.raises(NodeError, match=r"ended before it was ready\n--- .*\.log\n(.*\n)*.*BOOT FAILED"):
        await Node(tmp_path, root=rabbitmq_root).start()


@pytest.mark.parametrize(
    ("killed", "moment"),
    [("parent", "while it starts"), ("parent", "once it runs"), ("reaper", "while it starts")],
)
def test_no_process_of_a_node_is_left_when_its_parent_or_its_reaper_is_killed(
    tmp_path: Path, rabbitmq_root: Path | None, killed: str, moment: str
) -> None:
    command = [sys.executable, "-c", _PARENT, str(tmp_path), str(rabbitmq_root or "")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:  # our own program
        assert parent.stdout
        name = parent.stdout.readline().strip()
        if moment == "once it runs":
            assert parent.stdout.readline() == "running\n"
            assert len(list(_processes_of(name))) >= 4  # reaper, epmd, the Erlang machine and its helpers
        else:
            _until(lambda: len(list(_processes_of(name))) >= 3)
        if killed == "reaper":
            (reaper,) = (pid for pid in _processes_of(name) if b"reaper.py" in _read(pid, "cmdline"))
            os.kill(reaper, signal.SIGKILL)
            _until(lambda: not list(_processes_of(name)))
        parent.kill()
    _until(lambda: not list(_processes_of(name)))


async def test_virtual_hosts_isolate_tests_on_the_shared_node(vhost: VirtualHost, broker: Node) -> None:
    async with await aio_pika.connect(vhost.url) as connection:
        await (await connection.channel()).declare_queue("mine")
        with virtual_host(broker) as other:
            assert manage(broker, "GET", f"queues/{other.name}") == []
        closed = asyncio.Event()
        connection.close_callbacks.add(lambda *_: closed.set())
        await vhost.close_connections()
        await asyncio.wait_for(closed.wait(), 10)


def _processes_of(name: str) -> Iterator[int]:
    """Find by environment: a node's name is in that of everything that was started for it."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and name.encode() in _read(int(entry.name), "environ"):
            yield int(entry.name)


def _read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited for 30 s"
        time.sleep(0.05)
