"""The commands of the documents that need a broker, as they stand there, against a broker, a worker and the sandbox."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.e2e.stage import Stage
from tests.support.documents import PAGES, ROOT, blocks, commands_of, inline, text_of
from tests.support.node import Node

README: Final = text_of(ROOT / "README.md")
OPERATION: Final = text_of(ROOT / "deploy/README.md")


def control_commands() -> set[tuple[str, ...]]:
    """Find all that the documents say to `rabbitmqctl`."""
    lines = [line for page in PAGES for block, _ in blocks(page) for line in block.splitlines()]
    lines += [code for page in PAGES for code in inline(page) if code.startswith("rabbitmqctl ")]
    found = (command for line in lines for command in commands_of(line))
    return {tuple(command[1:]) for command in found if command[:1] == ["rabbitmqctl"]}


async def shell(stage: Stage, script: str) -> tuple[int, str]:
    """Run a script in this checkout; returns its exit status, and its output with the errors."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", script),
        cwd=ROOT,
        env={**environment, **stage.settings},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


def block(text: str, language: str, word: str) -> str:
    """Find the block in which a word stands."""
    (found,) = [one for one in re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL) if word in one]
    return str(found)


@pytest.mark.once
async def test_the_first_request_of_the_readme_is_accepted_and_its_event_shown(stage: Stage) -> None:
    await stage.worker()
    status, output = await shell(stage, block(README, "sh", "hello-1"))

    await stage.until_final_events(1)
    assert (status, stage.final_events()) == (0, {stage.events[0].subject: ["accepted"]})
    assert "1 request confirmed by the broker" in output
    assert "accepted" in output


async def test_the_program_of_the_readme_publishes_a_request(stage: Stage, tmp_path: Path) -> None:
    await stage.worker()
    (tmp_path / "first.py").write_text(block(README, "python", "aio_pika"))
    status, output = await shell(stage, f"{sys.executable} {tmp_path}/first.py")

    await stage.until_final_events(1)
    assert (status, output, stage.events[-1].data["requestId"]) == (0, "", "login-4711")


async def test_the_commands_for_operators_work_as_they_stand_there(stage: Stage) -> None:
    await stage.worker()
    commands = {"check": 0, "dead list": 0, "dead show": 1, "dead replay": 0}  # there is none to show
    for command, status in commands.items():
        (line,) = [line for line in OPERATION.splitlines() if line.startswith(f".venv/bin/omni-relay {command} ")]
        ended, output = await shell(stage, line)

        assert ended == status, output
        assert "Traceback" not in output


@pytest.mark.once
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (("guest:guest", "guest:wrong"), "ProbableAuthenticationError"),
        (("127.0.0.1", "nowhere.invalid"), "AMQPConnectionError"),
        ((":PORT", ":1"), "AMQPConnectionError"),
        (("/VHOST", "/nothere"), "InvalidFrameError"),
    ],
)
async def test_the_page_about_a_lost_connection_has_the_errors_of_the_log(
    stage: Stage, change: tuple[str, str], error: str
) -> None:
    """The names are those of the AMQP library, and none that a reader could guess."""
    parts = urlsplit(stage.url)
    before = {":PORT": f":{parts.port}", "/VHOST": parts.path}.get(change[0], change[0])
    worker = await stage.worker(ready=False, RABBITMQ_URL=stage.url.replace(before, change[1]))
    line = await worker.until_line("broker.refused")

    assert line["error"] == error
    assert f"| `{error}`" in text_of(ROOT / "deploy/runbooks/OmniRelayDisconnected.md")


@pytest.mark.parametrize("arguments", sorted(control_commands()), ids=" ".join)
async def test_a_node_understands_what_the_documents_say_to_it(broker: Node, arguments: tuple[str, ...]) -> None:
    """Columns of a list are not the same in every version of RabbitMQ."""
    await broker.ctl(*arguments)
