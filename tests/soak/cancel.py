"""A campaign that is cancelled while two workers send it, started by hand, with a fault in between.

    .venv/bin/python -m tests.soak.cancel
    .venv/bin/python -m tests.soak.cancel --fault worker --logs refused
    .venv/bin/python -m tests.soak.cancel --fault memory --rabbitmq-root .tools/rabbitmq-sid

Of the campaign, 200 messages wait in delay queues; beside it there are 100 others. Prints what became of each. Exit
status 1 if a message has not exactly one final event, if one that OMNI took is called cancelled, if one of the others
is not accepted, or if, without a fault, a call for the campaign is made more than two seconds after the command.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.stage import Stage, staged
from tests.support.memory import MemoryServer
from tests.support.node import Node
from tests.support.proxy import Proxy

DELAYED = 200
OTHERS = 100
LONGEST = 400.0
SETTINGS = {
    "REPLICAS": "2",
    "OMNI_MESSAGES_PER_SECOND": "20",
    "RETRY_BASE_DELAY": "30",
    "RETRY_MAX_DELAY": "30",
    "OMNI_READ_TIMEOUT": "5",
}
COMMAND = ("cancel", "--bulk-id", "campaign", "--metadata", "tenant=acme")


def requests(name: str, count: int, **fields: object) -> list[dict[str, object]]:
    names = [f"{name}-{number}" for number in range(count)]
    return [{"requestId": n, "messageId": n, "phoneNumber": "41793026727", "text": name, **fields} for n in names]


async def run(stage: Stage, memory: MemoryServer, proxy: Proxy, options: argparse.Namespace) -> list[str]:
    """Send, cancel, break something; return what is wrong."""
    settings: dict[str, Any] = {**SETTINGS, "MEMORY_URL": memory.url}
    broker = urlsplit(stage.url)
    direct = stage.url
    stage.settings["RELAY_RABBITMQ_URL"] = direct.replace(str(broker.port), str(proxy.port))
    if options.logs == "refused":
        await stage.sandbox.post("/sandbox/options", json={"logsAllowed": False})
    workers = [await stage.worker(**settings) for _ in range(2)]
    campaign: dict[str, object] = {"bulkId": "campaign", "metadata": {"tenant": "acme"}}
    await stage.send(*requests("early", 60))
    await stage.until_final_events(60)
    await stage.fault(kind="status", status=410)
    await stage.send(*requests("delayed", DELAYED, metadata={"tenant": "acme"}))
    await stage.until(lambda: sum("deferred" in types for types in stage.event_types().values()) >= DELAYED, 60)
    refused = await stage.posts()
    await stage.mend()
    await stage.send(*requests("campaign", options.messages - DELAYED, **campaign))
    await stage.send(*requests("other", OTHERS))
    await asyncio.sleep(2)

    first = await stage.command("cancel", "--metadata", "tenant=acme", **settings)
    given, began = await stage.command(*COMMAND, **settings), time.monotonic()
    say(first.output + given.output + given.errors)
    await asyncio.sleep(options.after)
    match options.fault:
        case "broker":
            proxy.cut()
        case "worker":
            workers[0].send(signal.SIGKILL)
            await stage.worker(**settings)
        case "memory":
            await memory.kill()
            await asyncio.sleep(1)
            await memory.start()
            await asyncio.sleep(5)
            say((await stage.command("cancel", "--metadata", "tenant=acme", **settings)).output)
        case "undo":
            for command in (("cancel", "--metadata", "tenant=acme"), COMMAND):
                say((await stage.command(*command, "--undo", **settings)).output)
        case _:
            pass
    posts = {}
    for seconds in (2.0, 10.0):
        await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
        posts[seconds] = of_campaign(await stage.posts())
    await stage.until_final_events(options.messages + OTHERS + 60, LONGEST)
    say(f"final events of all after {time.monotonic() - began:.1f} s")
    await asyncio.sleep(2)
    posts[LONGEST] = of_campaign(await stage.posts())
    say(f"messages of the campaign in calls, by the seconds since the command: {posts}")
    return await judge(stage, options, posts, refused)


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(f"{text.rstrip()}\n")
    sys.stdout.flush()


def of_campaign(posts: Counter[str]) -> int:
    return sum(count for name, count in posts.items() if not name.startswith(("other-", "early-")))


async def judge(stage: Stage, options: argparse.Namespace, posts: dict[float, int], refused: Counter[str]) -> list[str]:
    """List what is not as promised."""
    events, ids, taken = stage.final_events(), stage.final_ids(), await stage.posts(answered=200) - refused
    counts = Counter((name.partition("-")[0], "+".join(sorted(set(types)))) for name, types in events.items())
    for (name, type_), count in sorted(counts.items()):
        say(f"{name:<10} {type_:<20} {count:>6}")
    wrong = [f"{name} has {sorted(types)}" for name, types in events.items() if len(ids[name]) != 1]
    wrong += [f"{name} is called cancelled" for name, types in events.items() if "cancelled" in types and taken[name]]
    wrong += [f"{name} was taken {count} times" for name, count in taken.items() if count > 1]
    wrong += [
        f"{name} is {types}"
        for name, types in events.items()
        if name.startswith("other-") and options.fault in {"none", "broker"} and set(types) != {"accepted"}
    ]
    if options.fault == "none" and len(set(posts.values())) != 1:
        wrong.append(f"calls were made after the order: {posts}")
    return wrong


async def main(options: argparse.Namespace) -> int:
    """Run once."""
    directory = Path(tempfile.mkdtemp(prefix="omni-relay-cancel-"))
    say(f"logs in {directory}")
    async with (
        Node(directory / "broker", root=options.rabbitmq_root) as node,
        MemoryServer(directory / "memory") as memory,
    ):
        port = urlsplit(node.url).port
        assert port is not None
        async with Proxy(port) as proxy, staged(node.url, directory) as stage:
            wrong = await run(stage, memory, proxy, options)
    for line in wrong[:20]:
        say(f"WRONG: {line}")
    return int(bool(wrong))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--fault", choices=("none", "broker", "worker", "memory", "undo"), default="none")
    parser.add_argument("--after", type=float, default=0.5, help="seconds from the command to the fault")
    parser.add_argument("--logs", choices=("open", "refused"), default="open")
    parser.add_argument("--rabbitmq-root", type=Path)
    sys.exit(asyncio.run(main(parser.parse_args())))
