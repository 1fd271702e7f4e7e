"""`omni-relay send` with many rows, as a process with a broker: interrupted, killed, continued. No row is lost."""

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.stage import Stage, connected
from tests.support.broker import VirtualHost
from tests.support.worker import PROGRAM

pytestmark = pytest.mark.once

ROWS: Final = 10_000
NUMBER: Final = "41793026727"


@pytest.fixture
async def declared(stage: Stage) -> Stage:
    """Have a worker declare everything, and stop it: the requests stay in their queue."""
    worker = await stage.worker()
    assert await worker.stop() == 0
    return stage


def table(file: Path, rows: int = ROWS) -> Path:
    file.write_text("phoneNumber;messageId\n" + "".join(f"{NUMBER};m-{row}\n" for row in range(rows)))
    return file


def template(file: Path) -> Path:
    file.write_text('{"sms": {"text": "Hello"}}')
    return file


async def interrupted(
    stage: Stage, interruption: signal.Signals | VirtualHost, *arguments: str, progress: Path, at_least: int
) -> str:
    """Start sending, and send a signal or close its connection when so many rows are confirmed; return its output."""
    sending = await stage.watching("send", *arguments)

    def has_come_so_far() -> bool:
        with contextlib.suppress(OSError, ValueError):
            return int(json.loads(progress.read_text())["sent"]) >= at_least
        return False

    await sending.until(has_come_so_far)
    if isinstance(interruption, VirtualHost):
        await interruption.close_connections()
    else:
        sending.send(interruption)
    assert await sending.ended() != 0
    return sending.text


async def published(stage: Stage) -> list[tuple[str, str]]:
    """Take all requests; list the id of each with its messageId."""
    found: list[tuple[str, str]] = []
    count = await stage.waiting("omni.requests")
    async with connected(stage.url) as channel:
        await channel.set_qos(1000)
        queue = await channel.get_queue("omni.requests", ensure=False)
        async with queue.iterator(timeout=10, no_ack=True) as messages:
            async for message in messages:
                found.append((str(message.message_id), json.loads(message.body)["messageId"]))
                if len(found) == count:
                    break
    return found


async def test_a_run_that_is_interrupted_twice_is_continued_and_sends_each_row_once(
    declared: Stage, tmp_path: Path
) -> None:
    file, progress = table(tmp_path / "rows.csv"), tmp_path / "rows.csv.progress"
    arguments = ("--template", str(template(tmp_path / "t.json")), str(file))
    first = await interrupted(declared, signal.SIGINT, *arguments, progress=progress, at_least=500)
    second = await interrupted(declared, signal.SIGTERM, *arguments, progress=progress, at_least=4000)
    last = await declared.command("send", *arguments)

    assert "Run the same command again" in first
    assert "continuing behind" in second
    assert (last.status, last.errors.splitlines()[-1]) == (0, f"{ROWS} requests confirmed by the broker")
    assert not progress.exists()
    found = await published(declared)
    assert Counter(id_ for _, id_ in found) == Counter(f"m-{row}" for row in range(ROWS))


async def test_a_run_that_is_killed_is_continued_with_the_same_ids(declared: Stage, tmp_path: Path) -> None:
    """Requests of the last group may be published twice then, with the ids that they had."""
    file, progress = table(tmp_path / "rows.csv"), tmp_path / "rows.csv.progress"
    arguments = ("--template", str(template(tmp_path / "t.json")), str(file))
    await interrupted(declared, signal.SIGKILL, *arguments, progress=progress, at_least=500)
    last = await declared.command("send", *arguments)
    found = await published(declared)

    assert last.status == 0
    assert {id_ for _, id_ in found} == {f"m-{row}" for row in range(ROWS)}
    assert len(set(found)) == ROWS
    assert len(found) - ROWS <= 500


async def test_a_run_whose_connection_was_closed_is_continued_and_loses_no_row(
    declared: Stage, vhost: VirtualHost, tmp_path: Path
) -> None:
    file, progress = table(tmp_path / "rows.csv"), tmp_path / "rows.csv.progress"
    arguments = ("--template", str(template(tmp_path / "t.json")), str(file))
    first = await interrupted(declared, vhost, *arguments, progress=progress, at_least=500)
    last = await declared.command("send", *arguments)
    found = await published(declared)

    assert "Run the same command again" in first
    assert "Traceback" not in first
    assert last.status == 0
    assert {id_ for _, id_ in found} == {f"m-{row}" for row in range(ROWS)}
    assert len(set(found)) == ROWS
    assert len(found) - ROWS <= 500


async def test_another_input_or_another_template_does_not_continue_a_run(declared: Stage, tmp_path: Path) -> None:
    file, progress = table(tmp_path / "rows.csv"), tmp_path / "rows.csv.progress"
    form = template(tmp_path / "t.json")
    await interrupted(declared, signal.SIGINT, "--template", str(form), str(file), progress=progress, at_least=500)
    waiting = await declared.waiting("omni.requests")
    form.write_text('{"sms": {"text": "Good-bye"}}')
    refused = await declared.command("send", "--template", str(form), str(file))

    assert refused.status == 1
    assert f"delete {progress}" in refused.errors
    assert await declared.waiting("omni.requests") == waiting


async def test_faulty_rows_are_named_by_their_lines_and_nothing_is_sent(declared: Stage, tmp_path: Path) -> None:
    rows = "\r\n".join(f'{NUMBER};"x\r\ny"' if row % 40 else "12;z" for row in range(1, 1001))
    file = tmp_path / "rows.csv"
    file.write_bytes(b"\xef\xbb\xbfphoneNumber;sms.text\r\n" + rows.encode())
    refused, tried = await asyncio.gather(
        declared.command("send", str(file)), declared.command("send", "--dry-run", str(file))
    )

    for ended in (refused, tried):
        lines = ended.errors.splitlines()
        assert ended.status == 1
        assert lines[0].endswith("rows.csv, line 80: phoneNumber: must be an international number of 5 to 15 digits")
        assert "and 5 more rows with faults" in lines[-2]
        assert "nothing was sent: 25 of 1000 requests cannot be sent" in lines[-1]
    assert await declared.waiting("omni.requests") == 0
    assert not (tmp_path / "rows.csv.progress").exists()

    sent = await declared.command("send", "--unchecked", str(file))
    assert (sent.status, await declared.waiting("omni.requests")) == (0, 1000)


async def test_a_terminal_shows_progress_rate_and_remaining_time(declared: Stage, tmp_path: Path) -> None:
    terminal, side = pty.openpty()
    environment = {**os.environ, **declared.settings, "TERM": "xterm", "COLUMNS": "100"}
    arguments = ("send", "--template", str(template(tmp_path / "t.json")), str(table(tmp_path / "rows.csv")))
    sending = await asyncio.create_subprocess_exec(*PROGRAM, *arguments, env=environment, stderr=side)
    os.close(side)
    shown = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", await asyncio.to_thread(_read_all, terminal))

    assert await sending.wait() == 0
    assert re.search(rb"checking .* [0-9,]+/s", shown)
    assert re.search(rb"sending .* [0-9]+/10000 [1-9][0-9,]*/s 0:00:0[0-9]", shown)


def _read_all(terminal: int) -> bytes:
    shown = b""
    with contextlib.suppress(OSError):  # the other side is closed
        while part := os.read(terminal, 65536):
            shown += part
    os.close(terminal)
    return shown


async def test_every_format_is_sent_and_accepted(stage: Stage, tmp_path: Path) -> None:
    await stage.worker()
    person = {"phoneNumber": NUMBER, "sms": {"text": "x"}}
    files = [tmp_path / name for name in ("a.jsonl", "b.csv", "c.xml")]
    files[0].write_text(json.dumps({**person, "messageId": "jsonl", "requestId": "r-1"}))
    files[1].write_text(f"phoneNumber,messageId,sms.text\n+{NUMBER},csv,x\n")
    one = f"<request><phoneNumber>{NUMBER}</phoneNumber><messageId>%s</messageId><sms><text>x</text></sms></request>"
    files[2].write_text(f"<requests>{one % 'xml-1'}{one % 'xml-2'}</requests>")
    pipe = tmp_path / "pipe"  # as `<(zcat rows.gz)` of a shell
    os.mkfifo(pipe)
    writing = asyncio.to_thread(pipe.write_text, f'{{"phoneNumber":"{NUMBER}","messageId":"pipe","text":"x"}}')
    sent, _ = await asyncio.gather(stage.command("send", *map(str, [*files, pipe])), writing)
    await stage.until_final_events(5)

    assert (sent.status, sent.errors) == (0, "5 requests confirmed by the broker\n")
    accepted = ["accepted"]
    assert stage.final_events() == dict.fromkeys(("pipe", "jsonl", "csv", "xml-1", "xml-2"), accepted)
