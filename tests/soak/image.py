"""The image, run as OpenShift runs it: a read-only root, no capabilities, a user id that no file knows, of group 0.

    .venv/bin/python -m tests.soak.image [--built]

Needs root, buildah, podman, runc and mmdebstrap. `--built`: use the image of the last run. First a program in a
container looks for capabilities, and for a folder that it can write to besides /tmp. Then sandbox, worker, receiver of
reports and `check` run, each in a container, beside a broker. Exit status 1 if one of them fails.
"""

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from service.demo.rabbitmq.ports import free_port
from tests.e2e.stage import staged
from tests.support.node import Node
from tests.support.receiver import TOKEN, a_report

_IMAGE: Final = "localhost/omni-relay-test"
_USER: Final = random.randrange(1_000_000_000, 2_000_000_000)  # noqa: S311 - any will do
_LOOK: Final = """
import os
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
sets = {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
writable = []
for folder, folders, _ in os.walk("/"):
    folders[:] = [one for one in folders if os.path.join(folder, one) not in ("/proc", "/sys", "/dev", "/tmp")]
    try:
        open(os.path.join(folder, ".probe"), "x").close()
    except OSError:
        continue
    writable.append(folder)
new = status["NoNewPrivs"].strip()
print(f"user {os.getuid()}:{os.getgid()}, no new privileges {new}, capabilities {sets}, writable {writable}")
raise SystemExit(any(sets.values()) or bool(writable) or new != "1" or os.getuid() == 0)
"""
LIMITS: Final = (
    *("--runtime", "runc", "--cgroup-manager", "cgroupfs", "run", "--rm", "--network", "host", "--read-only"),
    *("--read-only-tmpfs=false", "--tmpfs", "/tmp:size=16m,mode=1777", "--cap-drop", "all"),  # noqa: S108 - the image's
    *("--security-opt", "no-new-privileges", "--no-healthcheck", "--ulimit", "nofile=1024:1024"),
    *("--ulimit", "nproc=4096:4096", "--user", f"{_USER}:0"),
)


def _command(settings: dict[str, str], name: str, *arguments: str) -> list[str]:
    given = [part for key, value in settings.items() for part in ("--env", f"{key}={value}")]
    return ["podman", *LIMITS, *given, "--name", f"relay-{os.getpid()}-{name}", _IMAGE, *arguments]


@contextmanager
def container(settings: dict[str, str], name: str, *arguments: str) -> Iterator[None]:
    """Run `omni-relay` in a container until the end; it must stop with status 0."""
    command = _command(settings, name, *arguments)
    with Path(tempfile.gettempdir(), f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield
        finally:
            full = f"relay-{os.getpid()}-{name}"
            subprocess.run(["podman", "stop", "--time", "40", full], check=False, capture_output=True, timeout=60)  # noqa: S607
            status = process.wait(60)
            print(f"{name} stopped with {status}")  # noqa: T201 - the summary
    assert status == 0, Path(tempfile.gettempdir(), f"{name}.log").read_text()


async def until(url: str, status: int = 200, within: float = 40) -> None:
    """Wait until a page has that status."""
    async with httpx.AsyncClient(trust_env=False) as client:
        end = time.monotonic() + within
        while time.monotonic() < end:
            try:
                if (await client.get(url)).status_code == status:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.2)
    raise AssertionError(f"{url} does not answer {status}")


def _run(command: list[str]) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(command, check=False, capture_output=True, timeout=60)


async def main(directory: Path) -> int:
    """Send 20 requests from container to container, push a report, check."""
    sandbox, metrics, reports, reports_metrics = (free_port() for _ in range(4))
    async with Node(directory / "broker") as node, staged(node.url, directory / "stage") as stage:
        settings = {
            "RELAY_RABBITMQ_URL": node.url,
            "RELAY_OMNI_BASE_URL": f"http://127.0.0.1:{sandbox}",
            "RELAY_OMNI_API_KEY": "sandbox-key",
            "RELAY_HTTP_PORT": str(metrics),
        }
        receiver = {
            "RELAY_RABBITMQ_URL": node.url,
            "RELAY_REPORTS_TOKEN": TOKEN,
            "RELAY_REPORTS_PORT": str(reports),
            "RELAY_HTTP_PORT": str(reports_metrics),
        }
        with (
            container({}, "sandbox", "sandbox", "--host", "127.0.0.1", "--port", str(sandbox)),
            container(settings, "worker", "worker"),
            container(receiver, "reports", "reports"),
        ):
            await until(f"http://127.0.0.1:{sandbox}/")
            await until(f"http://127.0.0.1:{metrics}/readyz")
            await until(f"http://127.0.0.1:{reports_metrics}/readyz")
            await stage.send(
                *(
                    {"requestId": f"r-{n}", "messageId": f"m-{n}", "phoneNumber": "41793026727", "text": "x"}
                    for n in range(20)
                )
            )
            await stage.until_final_events(20)
            async with httpx.AsyncClient(trust_env=False) as client:
                pushed = await client.post(
                    f"http://127.0.0.1:{reports}/reports/{TOKEN}", json={"results": [a_report("m-0")]}
                )
            checked = await asyncio.to_thread(_run, _command(settings, "check", "check"))
            sys.stdout.write(checked.stdout.decode() + checked.stderr.decode())
    kinds = {tuple(types) for types in stage.final_events().values()}
    print(f"events {kinds}; push answered with {pushed.status_code}; check ended with {checked.returncode}")  # noqa: T201
    return int(("accepted",) not in kinds or pushed.status_code != httpx.codes.OK or checked.returncode != 0)


if __name__ == "__main__":
    os.environ["STORAGE_DRIVER"] = "vfs"
    if "--built" not in sys.argv:
        subprocess.run([Path(__file__).with_name("image.sh")], check=True)
    looking = ["podman", *LIMITS, "--entrypoint", "python", _IMAGE, "-c", _LOOK]
    subprocess.run(looking, check=True, timeout=120)
    with tempfile.TemporaryDirectory() as place:
        sys.exit(asyncio.run(main(Path(place))))
