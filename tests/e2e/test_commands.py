"""The commands other than `worker`, as processes, with a broker and a worker."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stage import Stage
from tests.support.broker import VirtualHost, manage
from tests.support.worker import TIMEOUT, run

NUMBER = "41793026727"


def request(name: str) -> dict[str, object]:
    return {"requestId": name, "messageId": name, "phoneNumber": NUMBER, "text": "Grüße"}


@pytest.mark.once
async def test_requests_of_files_and_of_standard_input_are_sent(stage: Stage, tmp_path: Path) -> None:
    await stage.worker()
    one, several, lines = tmp_path / "one.json", tmp_path / "several.json", tmp_path / "lines.jsonl"
    one.write_text(json.dumps(request("one"), indent=2))
    several.write_text(json.dumps([request("a"), request("b")]))
    lines.write_text("\n\n".join(json.dumps(request(name)) for name in ("c", "d")))
    sent = await stage.command("send", str(one), str(several), str(lines))
    piped = await stage.command("send", stdin=json.dumps(request("piped")).encode())
    await stage.until_final_events(6)

    assert (sent.status, sent.errors) == (0, "5 requests confirmed by the broker\n")
    assert (piped.status, piped.errors) == (0, "1 request confirmed by the broker\n")
    assert set(stage.final_events()) == {"one", "a", "b", "c", "d", "piped"}


@pytest.mark.once
async def test_a_broken_file_is_named_and_nothing_is_sent(stage: Stage, tmp_path: Path) -> None:
    await stage.worker()
    good = tmp_path / "good.json"
    good.write_text(json.dumps(request("good")))
    texts = {"cut.jsonl": b"{}\n{", "empty.json": b"", "blank.json": b"\n", "binary.json": b"\xff\xfe"}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
    several = await asyncio.gather(*(stage.command("send", str(good), str(tmp_path / name)) for name in texts))
    for name, ended in zip(texts, several, strict=True):
        assert ended.status == 1
        assert "nothing was sent" in ended.errors
        assert name in ended.errors
    assert (await stage.command("send", str(tmp_path / "absent.json"))).status == 2
    assert stage.events == []
    assert await stage.waiting("omni.requests") == 0


@pytest.mark.fresh
async def test_requests_without_a_bound_queue_are_an_error(stage: Stage) -> None:
    ended = await stage.command("send", stdin=json.dumps(request("lost")).encode())
    assert ended.status == 1
    assert "Traceback" not in ended.errors


@pytest.mark.once
async def test_events_can_be_watched_as_json(stage: Stage, vhost: VirtualHost) -> None:
    await stage.worker()
    watcher = await stage.watching("watch", "--json")
    await asyncio.to_thread(_until_bound, vhost, 2)
    await stage.send(request("seen"))
    await stage.until_final_events(1)
    await watcher.until(lambda: watcher.output.read_text().endswith("\n"))
    watcher.send(signal.SIGINT)

    assert await watcher.ended() == 0
    assert [json.loads(line) for line in watcher.output.read_text().splitlines()] == [stage.events[0].body]


@pytest.mark.once
@pytest.mark.parametrize("arguments", [("watch",), ("watch", "--json")])
async def test_watched_events_have_no_control_characters(
    stage: Stage, vhost: VirtualHost, arguments: tuple[str, ...]
) -> None:
    watcher = await stage.watching(*arguments)
    await asyncio.to_thread(_until_bound, vhost, 2)
    steering = "\x1b]0;owned\x07\x9b2J\x7f\u202e"
    data: dict[str, object] = {
        "requestId": steering,
        "to": {},
        "attempt": steering,
        "reason": None,
        "status": None,
        "nextAttemptAt": None,
    }
    event = json.dumps({"time": steering, "type": steering, "data": data}, ensure_ascii=False).encode()
    bodies = (event, event.replace(b"\\u001b", b"\x1b"), steering.encode(), b'{\n"last": "\x7f"}')
    await stage.send(*bodies, exchange="omni.results", key="message.accepted")
    await watcher.until(lambda: "last" in watcher.output.read_text() or watcher.text.count("omni-relay:") == 3)
    watcher.send(signal.SIGINT)
    await watcher.ended()

    shown = watcher.output.read_text() + watcher.text
    assert "owned" in shown
    assert [character for character in shown if not character.isprintable() and character != "\n"] == []
    if "--json" in arguments:
        first, last = (json.loads(line) for line in watcher.output.read_text().splitlines())
        assert first["data"] == data
        assert last == {"last": "\x7f"}


async def test_a_check_reports_what_works_and_what_does_not(stage: Stage, unused_tcp_port: int) -> None:
    worker = await stage.worker()
    nowhere = f"127.0.0.1:{unused_tcp_port}"
    good, key, broker, omni, delays = await asyncio.gather(
        stage.command("check", HTTP_PORT=str(worker.port)),
        stage.command("check", OMNI_API_KEY="wrong-canary"),
        stage.command("check", RABBITMQ_URL=f"amqp://guest:wrong-canary@{nowhere}/"),
        stage.command("check", OMNI_BASE_URL=f"http://{nowhere}"),
        stage.command("check", RETRY_MAX_DELAY="3"),
    )
    async with stage.channel() as channel:
        await channel.queue_delete("omni.requests.urgent.delay.0.1")
        await channel.declare_queue("omni.requests.urgent.delay.0.1", durable=True)
    differs = await stage.command("check", HTTP_PORT=str(worker.port))

    assert good.status == 0
    assert [line.split()[0] for line in good.output.splitlines()] == ["ok"] * 7 + ["-"]
    assert good.output.splitlines()[-1].startswith("-     sending        nothing was posted")
    for ended, at in ((key, "OMNI"), (broker, "broker"), (omni, "OMNI"), (delays, "topology"), (differs, "topology")):
        assert ended.status == 1
        assert [line.split()[1] for line in ended.output.splitlines() if line.startswith("FAULT")] == [at]
        assert "wrong-canary" not in ended.output + ended.errors
        assert "Traceback" not in ended.errors
    assert await stage.calls() == []


@pytest.mark.once
async def test_a_check_says_what_it_has_not_tested_and_never_that_all_is_well(stage: Stage) -> None:
    await stage.worker()
    await stage.fault(kind="status", status=503)
    ended = await stage.command("check", "--json")
    results = {one["name"]: one["result"] for one in json.loads(ended.output)["checks"]}

    assert ended.status == 0
    assert set(json.loads(ended.output)) == {"checks"}
    assert {name for name, result in results.items() if result == "not_tested"} == {"worker", "sending"}


@pytest.mark.once
async def test_a_check_beside_a_worker_finds_the_outage_that_it_cannot_see_itself(stage: Stage) -> None:
    worker = await stage.worker()
    await stage.fault(kind="status", status=503)
    await stage.send(request("m"))
    await worker.until_metric('omni_relay_paused{reason="failing"}', 1)
    ended = await stage.command("check", HTTP_PORT=str(worker.port))

    assert ended.status == 1
    (fault,) = (line for line in ended.output.splitlines() if line.startswith("FAULT"))
    assert fault == "FAULT worker         sending is paused: http_503"


async def test_a_check_looks_at_each_broker_and_at_the_right_to_read_logs(stage: Stage, unused_tcp_port: int) -> None:
    await stage.worker()
    await stage.fault(kind="status", status=403, path="logs", envelope="new")
    nowhere = f"amqp://guest:guest@127.0.0.2:{unused_tcp_port}/"
    ended = await stage.command(
        "check",
        RABBITMQ_URL=f"{stage.url},{nowhere}",
        HTTP_PORT=stage.settings["RELAY_OMNI_BASE_URL"].rpartition(":")[2],
    )

    assert ended.status == 1
    assert [line.split()[1] for line in ended.output.splitlines() if line.startswith("FAULT")] == ["broker", "worker"]
    assert "FAULT broker         127.0.0.2: no connection" in ended.output
    assert "-     OMNI's logs    closed to these credentials (http_403)" in ended.output


@pytest.mark.long
@pytest.mark.timeout(120)  # the demo starts its own broker
async def test_the_demo_shows_every_event_and_leaves_no_process_behind(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    ended = await run(tmp_path / "demo", {"TMPDIR": str(temporary)}, "demo", within=100)
    assert ended.status == 0, ended.output + ended.errors
    assert "accepted" in ended.output
    assert list(_processes_of(temporary)) == []


@pytest.mark.once
@pytest.mark.timeout(120)
async def test_the_demo_shows_no_password_of_a_broker_that_is_not_its_own(stage: Stage) -> None:
    demo = await stage.watching("demo", "--keep")
    await demo.until(lambda: "running until Ctrl-C" in demo.output.read_text(), within=90)
    demo.send(signal.SIGINT)
    assert await demo.ended() == 0
    assert "guest:guest" not in demo.output.read_text() + demo.text


@pytest.mark.once
async def test_the_demo_refuses_a_broker_that_is_in_use(stage: Stage) -> None:
    await stage.worker()
    ended = await stage.command("demo")
    assert ended.status == 1
    assert "in use" in ended.errors
    assert await stage.calls() == []


def _until_bound(vhost: VirtualHost, count: int) -> None:
    """Wait until that many queues are bound to the results exchange."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        bindings = manage(vhost.node, "GET", f"exchanges/{vhost.name}/omni.results/bindings/source")
        assert isinstance(bindings, list)
        if len(bindings) == count:
            return
        assert time.monotonic() < deadline, bindings
        time.sleep(0.05)


def _processes_of(directory: Path) -> Iterator[int]:
    """Find processes by their environment: each one that the demo starts has a directory below this one."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and str(directory).encode() in (entry / "environ").read_bytes():
                yield int(entry.name)
