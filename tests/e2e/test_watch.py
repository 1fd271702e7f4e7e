"""`omni-relay watch` loses no event, whatever it writes to, and ends with the reader of its output."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.e2e.stage import Stage
from tests.e2e.test_commands import _until_bound as until_bound
from tests.e2e.test_trying_again import NUMBER, UNAVAILABLE_ONCE, request
from tests.support.broker import VirtualHost
from tests.support.worker import PROGRAM, TIMEOUT

pytestmark = pytest.mark.once

Process = asyncio.subprocess.Process
GREETING = "Grüße 😀"


@asynccontextmanager
async def piped(stage: Stage, *arguments: str, encoding: str = "utf-8") -> AsyncIterator[Process]:
    """Start a command whose output goes into a pipe, as another program's input does."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *arguments,
        env={**inherited, **stage.settings, "PYTHONIOENCODING": encoding},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def close_output(process: Process) -> None:
    """Close our end of the pipe, as `head` does when it has had enough."""
    transport = process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other way
    transport.close()


async def ended(process: Process) -> tuple[int, bytes]:
    assert process.stderr is not None
    async with asyncio.timeout(TIMEOUT):
        return await process.wait(), await process.stderr.read()


@pytest.mark.parametrize("arguments", [("watch",), ("watch", "--json")])
async def test_it_ends_without_a_fault_when_the_reader_of_its_output_does(
    stage: Stage, vhost: VirtualHost, arguments: tuple[str, ...]
) -> None:
    await stage.worker()
    async with piped(stage, *arguments) as watcher:
        assert watcher.stdout is not None
        await asyncio.to_thread(until_bound, vhost, 2)
        await stage.send(request("m", NUMBER))
        assert await asyncio.wait_for(watcher.stdout.readline(), TIMEOUT)
        await close_output(watcher)
        await stage.send(*(request(f"m-{number}", NUMBER) for number in range(20)))
        assert await ended(watcher) == (0, b"")


async def test_it_notices_that_the_reader_is_gone_though_no_event_comes(stage: Stage, vhost: VirtualHost) -> None:
    await stage.worker()
    async with piped(stage, "watch", "--json") as watcher:
        await asyncio.to_thread(until_bound, vhost, 2)
        await close_output(watcher)
        assert await ended(watcher) == (0, b"")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("arguments", [("watch",), ("watch", "--json")])
async def test_no_event_is_lost_in_a_terminal_that_lacks_its_characters(
    stage: Stage, vhost: VirtualHost, arguments: tuple[str, ...], encoding: str
) -> None:
    await stage.worker()
    async with piped(stage, *arguments, encoding=encoding) as watcher:
        await asyncio.to_thread(until_bound, vhost, 2)
        await stage.send({**request(GREETING, NUMBER), "messageId": "m", "metadata": {"greeting": GREETING}})
        await stage.until_final_events(1)
        await stage.send(request("last", NUMBER))
        assert watcher.stdout is not None
        lines = [await asyncio.wait_for(watcher.stdout.readline(), TIMEOUT)]
        while b"last" not in lines[-1]:
            lines.append(await asyncio.wait_for(watcher.stdout.readline(), TIMEOUT))
        watcher.send_signal(signal.SIGINT)
        assert await ended(watcher) == (0, b"")

    if "--json" in arguments:
        codec = "utf-8" if encoding == "ascii" else encoding  # click writes UTF-8 where it is told ASCII
        read = [json.loads(line.decode(codec)) for line in lines]
        assert [event["subject"] for event in read] == ["m", "last"]
        assert read[0]["data"]["metadata"] == {"greeting": GREETING}
    else:
        assert len(lines) == 3
        assert b"accepted" in lines[1]


@pytest.mark.parametrize("command", [(), ("watch",), ("dead", "replay"), ("status",), ("find",)], ids=" ".join)
async def test_help_is_written_in_any_encoding(stage: Stage, command: tuple[str, ...]) -> None:
    async with piped(stage, *command, "--help", encoding="latin-1") as process:
        assert process.stdout is not None
        shown = await process.stdout.read()
        assert await ended(process) == (0, b"")
    assert b"Usage: omni-relay" in shown


async def test_events_are_chosen_by_request_message_and_type(stage: Stage, vhost: VirtualHost) -> None:
    await stage.worker()
    options = {
        "request": ("--request-id", "order-1"),
        "message": ("--message-id", "m-2", "--message-id", "m-3"),
        "type": ("--type", "omni.message.deferred", "--type", "message.rejected"),
        "all": ("--request-id", "order-2", "--message-id", "m-2", "--type", "accepted"),
    }
    watchers = {name: await stage.watching("watch", "--json", *given) for name, given in options.items()}
    await asyncio.to_thread(until_bound, vhost, 1 + len(options))
    for number, phone in enumerate((NUMBER, UNAVAILABLE_ONCE, "12"), 1):
        await stage.send({**request(f"m-{number}", phone), "requestId": f"order-{number}"})
    await stage.until_final_events(3)
    types = {
        "request": [("m-1", "omni.message.accepted")],
        "message": [
            ("m-2", "omni.message.deferred"),
            ("m-3", "omni.message.rejected"),
            ("m-2", "omni.message.accepted"),
        ],
        "type": [("m-2", "omni.message.deferred"), ("m-3", "omni.message.rejected")],
        "all": [("m-2", "omni.message.accepted")],
    }
    for name, expected in types.items():
        watcher = watchers[name]
        await watcher.until(lambda: watcher.output.read_text().count("\n") >= len(expected))  # noqa: B023 - awaited here
        events = [json.loads(line) for line in watcher.output.read_text().splitlines()]
        assert sorted((event["subject"], event["type"]) for event in events) == sorted(expected)


async def test_no_dead_letter_to_replay_or_to_purge_is_no_fault_and_none_to_show_is_one(stage: Stage) -> None:
    await stage.worker()
    replayed, purged, listed, shown = [
        await stage.command("dead", *arguments)
        for arguments in (("replay",), ("purge", "--yes"), ("list",), ("show", "nothing"))
    ]

    assert (replayed.status, replayed.output) == (0, "0 dead letters sent again\n")
    assert (purged.status, purged.output) == (0, "0 dead letters dropped\n")
    assert (listed.status, listed.output) == (0, "0 dead letters\n")
    assert (shown.status, shown.errors) == (1, "omni-relay: no such dead letter\n")
