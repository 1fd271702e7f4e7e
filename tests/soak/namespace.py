"""A worker in a network namespace whose only way out is a proxy with a password, and a private authority behind it.

    .venv/bin/python -m tests.soak.namespace

Needs root and `ip`. The namespace has no route but the one to its neighbour, where only proxy and broker listen for it.
The proxy answers 502 for six seconds, while messages are sent. Prints a summary; exit status 1 if a message was lost,
posted twice or ambiguous, or if there is another way out. It removes what it made.
"""

import asyncio
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from tests.e2e.stage import Stage, staged
from tests.support.connect_proxy import OPENED, ConnectProxy, connect_proxy
from tests.support.node import Node
from tests.support.tls import certificate, forwarded, server_of
from tests.support.worker import PROGRAM

PASSWORD: Final = "canary-pass"
BAD_GATEWAY: Final = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
OUTSIDE, INSIDE = "10.203.77.1", "10.203.77.2"
SECONDS: Final = 14
RATE: Final = 50
"""Messages a second."""


def _run(*arguments: str) -> int:
    return subprocess.run(arguments, check=False, capture_output=True, timeout=10).returncode


@dataclass(frozen=True)
class Namespace:
    """A network namespace with one link to this machine."""

    name: str
    link: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """The command that runs another one inside."""
        return (shutil.which("ip") or "ip", "netns", "exec", self.name)

    def reaches(self, host: str, port: int) -> bool:
        """Return whether a connection from inside opens within two seconds."""
        code = f"import socket; socket.create_connection(({host!r}, {port}), 2)"
        return _run(*self.prefix, sys.executable, "-c", code) == 0


@contextmanager
def namespace() -> Iterator[Namespace]:
    """Make a namespace without a default route. OMNI listens on this machine's loopback, which it cannot reach."""
    mark = secrets.token_hex(3)
    made = Namespace(f"relay-{mark}", f"out-{mark}")
    try:
        for command in (
            f"ip netns add {made.name}",
            f"ip link add {made.link} type veth peer name in-{mark} netns {made.name}",
            f"ip address add {OUTSIDE}/30 dev {made.link}",
            f"ip link set {made.link} up",
            f"ip -n {made.name} address add {INSIDE}/30 dev in-{mark}",
            f"ip -n {made.name} link set in-{mark} up",
            f"ip -n {made.name} link set lo up",
        ):
            assert _run(*command.split()) == 0, command
        yield made
    finally:
        _run("ip", "netns", "delete", made.name)


async def send(stage: Stage, proxy: ConnectProxy) -> int:
    """Send for `SECONDS`; the proxy answers 502 from the fourth to the tenth of them. Returns how many were sent."""
    for second in range(SECONDS):
        proxy.answer = BAD_GATEWAY if 4 <= second < 10 else OPENED
        ids = range(second * RATE, (second + 1) * RATE)
        await stage.send(
            *(
                {"requestId": f"r-{n}", "messageId": f"m-{n}", "phoneNumber": "41793026727", "text": "Hello"}
                for n in ids
            )
        )
        await asyncio.sleep(1)
    return SECONDS * RATE


async def main(directory: Path) -> int:
    """Run once; return the exit status."""
    files = certificate(directory)
    with namespace() as space:
        async with (
            Node(directory / "broker") as node,
            staged(node.url, directory / "stage") as stage,
            forwarded(httpx.URL(stage.settings["RELAY_OMNI_BASE_URL"]).port or 0, server_of(files)) as omni,
            connect_proxy(password=f"us:{PASSWORD}", host=OUTSIDE) as proxy,
            forwarded(node.port, None, host=OUTSIDE) as broker,
        ):
            return await _observe(space, stage, proxy, omni, f"amqp://guest:guest@{OUTSIDE}:{broker}/", files[0])


async def _observe(  # noqa: PLR0913, PLR0917 - all parts of the run
    space: Namespace, stage: Stage, proxy: ConnectProxy, omni: int, broker: str, authority: Path
) -> int:
    ways = {
        "proxy": space.reaches(OUTSIDE, proxy.port),
        "OMNI": space.reaches(OUTSIDE, omni) or space.reaches("127.0.0.1", omni),
        "elsewhere": space.reaches("192.0.2.1", 443),
    }
    worker = await stage.worker(
        ready=False,
        program=(*space.prefix, *PROGRAM),
        RABBITMQ_URL=broker,
        OMNI_BASE_URL=f"https://localhost:{omni}",
        OMNI_PROXY=f"http://us:{PASSWORD}@{OUTSIDE}:{proxy.port}",
        CA_FILE=str(authority),
        OMNI_CONNECTION_LIFETIME="1",
        UNKNOWN_POLICY="park",
    )
    await worker.until_line("broker.connected")
    sent = await send(stage, proxy)
    await stage.until_final_events(sent, within=60)
    events, posts = stage.final_events(), await stage.posts()
    outcomes = Counter(
        (line["outcome"], line.get("cause")) for line in worker.lines("attempt.made") if "outcome" in line
    )
    print(f"ways out: {ways}")  # noqa: T201 - the summary
    print(f"sent {sent}; final events {Counter(map(tuple, events.values()))}")  # noqa: T201 - the summary
    print(f"posted {len(posts)}, most often {max(posts.values())}; attempts {dict(outcomes)}")  # noqa: T201 - the summary
    print(f"CONNECT asked for {len(proxy.heads)} times; stopped with {await worker.stop()}")  # noqa: T201 - the summary
    good = (
        ways == {"proxy": True, "OMNI": False, "elsewhere": False}
        and set(map(tuple, events.values())) == {("accepted",)}
        and (len(posts), set(posts.values())) == (sent, {1})
        and not any(outcome == "unknown" for outcome, _ in outcomes)
        and any(cause == "proxy_refused" for _, cause in outcomes)
        and PASSWORD not in worker.text
    )
    print("good" if good else "NOT as it must be")  # noqa: T201 - the summary
    return int(not good)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        sys.exit(asyncio.run(main(Path(place))))
