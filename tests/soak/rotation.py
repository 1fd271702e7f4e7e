"""Every secret is replaced while 100 messages a second are sent, a second after the old one was refused.

    .venv/bin/python -m tests.soak.rotation

The worker reaches OMNI through a proxy with a password, and requires a shared memory. Prints for each secret after how
many seconds messages were taken again; exit status 1 if that was more than ten, or if a message was lost, sent twice,
or used up its one attempt.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import httpx

from tests.e2e.stage import Stage, staged
from tests.e2e.test_rotation import mounted, seconds_until_taken, send_steadily
from tests.support.account import Account
from tests.support.broker import manage, user, virtual_host
from tests.support.connect_proxy import connect_proxy
from tests.support.memory import MemoryServer
from tests.support.node import Node

PAUSE: Final = 6.0
"""Seconds of quiet sending before each rotation."""
MOST: Final = 10.0


async def rotate(account: Account, refuse: Callable[[], Awaitable[object]], replace: Callable[[], object]) -> float:
    """Have the old value refused, replace it a second later; return the seconds until a message is taken again."""
    await asyncio.sleep(PAUSE)
    await refuse()
    await asyncio.sleep(1)
    replace()
    began = time.monotonic()
    await asyncio.sleep(0.3)  # calls that were on their way
    await seconds_until_taken(account)
    return time.monotonic() - began


async def main(directory: Path) -> int:
    """Run once; return the exit status."""
    account = Account({"App old"})
    memory = MemoryServer(directory / "memory", password="old-memory")
    async with (
        Node(directory / "broker", management=True) as node,
        memory,
        connect_proxy(password="us:old-proxy") as proxy,
        account.serving() as base_url,
    ):
        with virtual_host(node) as host, user(host, configure=".*", write=".*", read=".*") as url:
            async with staged(host.url, directory / "stage") as stage:
                values = {
                    "RABBITMQ_URL": url,
                    "OMNI_API_KEY": "old",
                    "OMNI_PROXY": f"http://us:old-proxy@127.0.0.1:{proxy.port}",
                    "MEMORY_URL": memory.url,
                }
                secrets = mounted(directory / "secrets", **values)
                worker = await stage.worker(
                    SECRETS_DIR=str(secrets),
                    OMNI_BASE_URL=base_url,
                    OMNI_API_KEY="",
                    RABBITMQ_URL="",
                    MEMORY_REQUIRED="true",
                    RETRY_MAX_ATTEMPTS="1",
                )
                name = httpx.URL(url).username

                async def key() -> None:
                    account.accepts = {"App new"}

                async def proxys() -> None:
                    proxy.password = "us:new-proxy"
                    proxy.cut()

                async def memorys() -> None:
                    await memory.ask("CONFIG", "SET", "requirepass", "new-memory")
                    memory.password = "new-memory"
                    await memory.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

                async def brokers() -> None:
                    manage(node, "PUT", f"users/{name}", password="another", tags="")
                    await node.ctl("close_all_user_connections", name, "the password has changed")

                sending = asyncio.create_task(send_steadily(stage, 60))
                found: dict[str, float] = {}
                for setting, value, refuse in (
                    ("OMNI_API_KEY", "new", key),
                    ("OMNI_PROXY", values["OMNI_PROXY"].replace("old", "new"), proxys),
                    ("MEMORY_URL", values["MEMORY_URL"].replace("old", "new"), memorys),
                    ("RABBITMQ_URL", url.replace("made-up", "another"), brokers),
                ):
                    values[setting] = value
                    found[setting] = await rotate(account, refuse, lambda: mounted(secrets, **values))
                    print(f"{setting}: taken again {found[setting]:.1f} s after the new file")  # noqa: T201 - the summary
                return await _judge(stage, account, await sending, found) | int(await worker.stop() != 0)


async def _judge(stage: Stage, account: Account, sent: int, found: dict[str, float]) -> int:
    await stage.until_final_events(sent, within=60)
    events = {tuple(types) for types in stage.final_events().values()}
    dead = await stage.waiting("omni.dead")
    print(f"sent {sent}; taken {len(account.taken)}, most often {max(account.taken.values())}")  # noqa: T201 - the summary
    print(f"refused calls {account.refused}; final events {events}; dead letters {dead}")  # noqa: T201 - the summary
    good = (
        max(found.values()) < MOST
        and events == {("accepted",)}
        and (len(account.taken), set(account.taken.values()), dead) == (sent, {1}, 0)
    )
    print("good" if good else "NOT as it must be")  # noqa: T201 - the summary
    return int(not good)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        sys.exit(asyncio.run(main(Path(place))))
