"""Files in the working directory have no effect unless they are named. Real processes without a broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.support.worker import run, started

pytestmark = pytest.mark.once

KEY: Final = "canary-key"
USUAL: Final = {
    "RELAY_RABBITMQ_URL": "amqp://127.0.0.1:9/",
    "RELAY_OMNI_API_KEY": KEY,
    "RELAY_HTTP_HOST": "127.0.0.1",
    "RELAY_HTTP_PORT": "0",
}


@dataclass
class Server:
    """Someone who listens where OMNI should, and keeps the heads of all requests."""

    url: str = ""
    heads: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def listening() -> AsyncIterator[Server]:
    server = Server()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener:
        yield server


async def test_an_env_file_that_is_not_named_does_not_redirect_the_key(tmp_path: Path) -> None:
    async with listening() as thief, listening() as omni:
        trap = {".env": f"RELAY_OMNI_BASE_URL={thief.url}\nRELAY_NO_SUCH_SETTING=1\n"}
        for number, settings in enumerate([{"RELAY_OMNI_BASE_URL": omni.url}, {"RELAY_OMNI_FORMAT": "json"}]):
            ended = await run(tmp_path / str(number), {**USUAL, **settings}, "check", files=trap)
            assert ended.status == 1  # there is no broker
    assert thief.heads == []
    assert KEY.encode() in omni.heads[0]


@pytest.mark.parametrize("way", ["before", "behind", "environment"])
async def test_an_env_file_that_is_named_is_read_without_interpolation(tmp_path: Path, way: str) -> None:
    async with listening() as omni:
        file = {"relay.env": f"RELAY_OMNI_BASE_URL={omni.url}\nRELAY_OMNI_API_KEY='${{ELSEWHERE}}'\n"}
        settings = {"ELSEWHERE": KEY, "RELAY_RABBITMQ_URL": USUAL["RELAY_RABBITMQ_URL"]}
        named = ("--env-file", "relay.env")
        arguments = {"before": (*named, "check"), "behind": ("check", *named), "environment": ("check",)}[way]
        if way == "environment":
            settings["RELAY_ENV_FILE"] = "relay.env"
        await run(tmp_path / "process", settings, *arguments, files=file, program=None)

    assert b"App ${ELSEWHERE}\r\n" in omni.heads[0]


async def test_a_missing_env_file_is_a_wrong_configuration(tmp_path: Path) -> None:
    ended = await run(tmp_path / "process", USUAL, "worker", "--env-file", "nowhere.env", program=None)
    assert (ended.status, ended.output) == (78, "")
    assert ended.errors.startswith("omni-relay: RELAY_ENV_FILE: ")
    assert ended.errors.count("\n") == 1


async def test_each_of_several_workers_reads_the_env_file_and_no_module_of_the_directory(tmp_path: Path) -> None:
    """The supervisor starts Python with a command: it would import from the working directory first."""
    trap = "import pathlib; pathlib.Path('caught').touch()\n"
    files = {"relay.env": "RELAY_LOG_LEVEL=debug\nRELAY_OMNI_API_KEY=key\n", "click.py": trap, "service.py": trap}
    settings = {name: value for name, value in USUAL.items() if name != "RELAY_OMNI_API_KEY"}
    directory = tmp_path / "process"
    arguments = ("--env-file", "relay.env", "worker", "--processes", "2")
    async with started(directory, settings, *arguments, files=files) as supervisor:
        await supervisor.until(lambda: len(supervisor.lines("worker.started")) == 2)
        assert await supervisor.stop() == 0
    assert not (directory / "caught").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RELAY_OMNI_API_KEY", "schlüssel"),
        ("RELAY_OMNI_TOKEN", "tok€n"),
        ("RELAY_OMNI_BASE_URL", "https://api.infobip.com/\r\nx-other"),
        ("RELAY_OMNI_BASE_URL", "https://999.1.1.1"),
        ("RELAY_RABBITMQ_URL", "amqp://user:12/canary@host/"),
        ("RELAY_RABBITMQ_URL", "amqps://user:canary@host/?no_verify_ssl=false"),
        ("RELAY_RABBITMQ_URL", "amqps://host/?certfile=/nowhere"),
        ("RELAY_HTTP_HOST", "no such host"),
    ],
)
@pytest.mark.parametrize("command", ["worker", "check"])
async def test_a_value_that_cannot_be_used_is_a_wrong_configuration(
    tmp_path: Path, command: str, name: str, value: str
) -> None:
    settings = {key: text for key, text in USUAL.items() if name != "RELAY_OMNI_TOKEN" or "KEY" not in key}
    ended = await run(tmp_path / "process", {**settings, name: value}, command, program=None)

    assert (ended.status, ended.output) == (78, "")
    assert ended.errors.startswith(f"omni-relay: {name}: ")
    assert ended.errors.count("\n") == 1
    assert "canary" not in ended.errors


async def test_a_secret_that_is_not_utf_8_is_a_wrong_configuration(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "RELAY_OMNI_PASSWORD").write_bytes(b"caf\xe9")
    ended = await run(tmp_path / "process", {"RELAY_SECRETS_DIR": str(secrets)}, "worker", program=None)

    assert (ended.status, ended.output) == (78, "")
    assert ended.errors == "omni-relay: RELAY_OMNI_PASSWORD: its file is not UTF-8\n"
