"""Secrets and certificates that are replaced while the worker sends: it goes on with the new ones within seconds.

`RETRY_MAX_ATTEMPTS=1` in each: a message whose attempt was used up by a refusal would fail.
"""

import asyncio
import base64
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.e2e.stage import Stage
from tests.support.account import Account
from tests.support.broker import VirtualHost, manage, user
from tests.support.worker import TIMEOUT

RATE = 100


def mounted(directory: Path, **secrets: str) -> Path:
    """Write secrets as Kubernetes mounts them: links to links."""
    version = directory / f"..{time.monotonic_ns()}"
    version.mkdir(parents=True)
    for name, text in secrets.items():
        (version / f"RELAY_{name}").write_text(text)
        link = directory / f"RELAY_{name}"
        if not link.is_symlink():
            link.symlink_to(f"..data/RELAY_{name}")
    new = directory / "..data_tmp"
    new.symlink_to(version.name)
    new.replace(directory / "..data")
    return directory


def requests(numbers: Iterable[int]) -> list[dict[str, object]]:
    return [
        {"requestId": f"r-{n}", "messageId": f"m-{n}", "phoneNumber": "41793026727", "text": f"Number {n}"}
        for n in numbers
    ]


async def send_steadily(stage: Stage, seconds: float) -> int:
    """Send at `RATE` for so long; return how many."""
    for tenth in range(round(seconds * 10)):
        began = time.monotonic()
        await stage.send(*requests(range(tenth * RATE // 10, (tenth + 1) * RATE // 10)))
        await asyncio.sleep(max(0.0, 0.1 - (time.monotonic() - began)))
    return round(seconds * 10) * RATE // 10


async def settled(stage: Stage, account: Account, count: int) -> None:
    """Wait until each message has been taken once and has its one final event."""
    await stage.until_final_events(count, within=45)
    assert {kind for kinds in stage.final_events().values() for kind in kinds} == {"accepted"}
    assert {len(ids) for ids in stage.final_ids().values()} == {1}  # one that is not confirmed comes again
    assert len(account.taken) == count
    assert set(account.taken.values()) == {1}
    assert await stage.waiting("omni.dead") == 0


async def seconds_until_taken(account: Account) -> float:
    """Wait until one more message is taken; return how long that took."""
    began, taken = time.monotonic(), len(account.taken)
    while len(account.taken) == taken:  # noqa: ASYNC110  # another process
        await asyncio.sleep(0.02)
    return time.monotonic() - began


def credentials(kind: str, value: str) -> tuple[dict[str, str], str, str]:
    """Return settings, the header that they lead to, and the setting that rotates."""
    match kind:
        case "key":
            return {"OMNI_API_KEY": value}, f"App {value}", "OMNI_API_KEY"
        case "token":
            return {"OMNI_TOKEN": value}, f"Bearer {value}", "OMNI_TOKEN"
        case "password":
            pair = base64.b64encode(f"us:{value}".encode()).decode()
            return {"OMNI_USERNAME": "us", "OMNI_PASSWORD": value}, f"Basic {pair}", "OMNI_PASSWORD"
        case _:
            given = {"OMNI_CLIENT_ID": "us", "OMNI_CLIENT_SECRET": value}
            return given, f"Bearer token-of-{value}", "OMNI_CLIENT_SECRET"


@pytest.mark.once
@pytest.mark.long
@pytest.mark.parametrize("kind", ["key", "password", "token", "oauth"])
async def test_omnis_credentials_are_rotated_while_messages_are_sent(stage: Stage, tmp_path: Path, kind: str) -> None:
    """The old ones are refused a second before the new ones are there."""
    (old, old_header, _), (new, new_header, name) = credentials(kind, "old"), credentials(kind, "new")
    account = Account({old_header}, clients={"us": "old"})
    secrets = mounted(tmp_path / "secrets", **old)
    async with account.serving() as url:
        worker = await stage.worker(
            SECRETS_DIR=str(secrets), OMNI_BASE_URL=url, OMNI_API_KEY="", RETRY_MAX_ATTEMPTS="1"
        )
        sending = asyncio.create_task(send_steadily(stage, 4))
        await asyncio.sleep(1.5)
        account.accepts, account.clients = {new_header}, {"us": "new"}
        await asyncio.sleep(1)
        mounted(secrets, **new)
        assert await seconds_until_taken(account) < 10
        await settled(stage, account, await sending)
        assert account.refused
        # A file that changes between the look at its name and its reading is read a second time, with no change then.
        changed = [one for line in worker.lines("secrets.reloaded") for one in line["changed"]]
        assert changed == [f"RELAY_{name}"]
        ages = {one: age for one, age in (await worker.metrics()).items() if "secret_age" in one}
        assert sorted(ages) == sorted(
            f'omni_relay_secret_age_seconds{{setting="RELAY_{one}"}}' for one in (name, "RABBITMQ_URL")
        )
        assert ages[f'omni_relay_secret_age_seconds{{setting="RELAY_{name}"}}'] < 60
        assert await worker.stop() == 0


@pytest.mark.once
async def test_a_key_that_is_replaced_before_the_old_one_is_refused_denies_nothing(
    stage: Stage, tmp_path: Path
) -> None:
    account = Account({"App old"})
    secrets = mounted(tmp_path / "secrets", OMNI_API_KEY="old")
    async with account.serving() as url:
        worker = await stage.worker(
            SECRETS_DIR=str(secrets), OMNI_BASE_URL=url, OMNI_API_KEY="", RETRY_MAX_ATTEMPTS="1"
        )
        await stage.send(*requests(range(5)))
        await stage.until_final_events(5)
        account.accepts = {"App new"}
        mounted(secrets, OMNI_API_KEY="new")
        await stage.send(*requests(range(5, 10)))
        await settled(stage, account, 10)
        assert {line["outcome"] for line in worker.lines("attempt.made")} == {"accepted"}


@pytest.mark.once
async def test_a_secret_that_cannot_be_used_is_refused_once_and_the_old_one_stays_in_use(
    stage: Stage, tmp_path: Path
) -> None:
    account = Account({"App old", "App new"})
    secrets = mounted(tmp_path / "secrets", OMNI_API_KEY="old")
    async with account.serving() as url:
        worker = await stage.worker(SECRETS_DIR=str(secrets), OMNI_BASE_URL=url, OMNI_API_KEY="")
        mounted(secrets, OMNI_API_KEY="two\nlines-canary")
        line = await worker.until_line("secrets.refused")
        assert line["fault"] == "RELAY_OMNI_API_KEY: must be one line of ASCII characters without spaces"
        await stage.send(*requests(range(3)))
        await stage.until_final_events(3)
        worker.send(signal.SIGHUP)
        await asyncio.sleep(1)
        assert len(worker.lines("secrets.refused")) == 1
        mounted(secrets, OMNI_API_KEY="old")  # the same value in a new file
        await asyncio.sleep(2.5)
        assert worker.lines("secrets.reloaded") == []
        assert (await worker.metrics())["omni_relay_secret_reload_failures_total"] >= 2
        mounted(secrets, OMNI_API_KEY="new", RABBITMQ_DECLARE="false")
        await worker.until_line("secrets.reloaded")
        assert (await worker.until_line("settings.need_restart"))["settings"] == ["RELAY_RABBITMQ_DECLARE"]
        assert "canary" not in worker.text
        assert await worker.stop() == 0


@pytest.mark.once
async def test_sighup_reads_everything_again_and_stops_nothing(stage: Stage) -> None:
    worker = await stage.worker()
    worker.send(signal.SIGHUP)
    await worker.until_line("secrets.unchanged")
    await stage.send(*requests(range(1)))
    await stage.until_final_events(1)
    assert await worker.stop() == 0


@pytest.mark.once
async def test_sighup_to_a_supervisor_reaches_every_worker(stage: Stage) -> None:
    supervisor = await stage.workers(2)
    for number in (1, 2):
        await supervisor.until_metric(f'omni_relay_connected{{process="{number}"}}', 1)
    async with asyncio.timeout(TIMEOUT):  # the supervisor asks every two seconds whether they have started
        while {line["process"] for line in supervisor.lines("secrets.unchanged")} != {1, 2}:
            supervisor.send(signal.SIGHUP)
            await asyncio.sleep(0.5)
    assert supervisor.lines("process.ended") == []
    assert await supervisor.stop() == 0


@pytest.mark.long
async def test_the_brokers_password_is_rotated_and_connections_are_closed(
    stage: Stage, vhost: VirtualHost, tmp_path: Path
) -> None:
    account = Account({"App key"})
    with user(vhost, configure=".*", write=".*", read=".*") as url:
        secrets = mounted(tmp_path / "secrets", RABBITMQ_URL=url, OMNI_API_KEY="key")
        name = url.partition("//")[2].partition(":")[0]
        async with account.serving() as base_url:
            worker = await stage.worker(
                SECRETS_DIR=str(secrets),
                OMNI_BASE_URL=base_url,
                OMNI_API_KEY="",
                RABBITMQ_URL="",
                RETRY_MAX_ATTEMPTS="1",
            )
            sending = asyncio.create_task(send_steadily(stage, 3))
            await asyncio.sleep(1)
            manage(vhost.node, "PUT", f"users/{name}", password="another", tags="")
            reason = '<<"the password has changed">>'
            await vhost.node.evaluate(f'rabbit_networking:close_all_user_connections(<<"{name}">>, {reason})')
            await worker.until_line("broker.refused")
            await asyncio.sleep(3)
            began = time.monotonic()
            mounted(secrets, RABBITMQ_URL=url.replace("made-up", "another"), OMNI_API_KEY="key")
            await worker.until(lambda: len(worker.lines("broker.connected")) == 2)
            await settled(stage, account, await sending)
            assert time.monotonic() - began < 40
            assert await worker.stop() == 0
