"""Reports that OMNI pushes become events: the real receiver against a real RabbitMQ."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import httpx
import pytest

from tests.e2e.stage import Stage
from tests.e2e.test_rotation import mounted
from tests.support.broker import VirtualHost, manage, user
from tests.support.proxy import Proxy
from tests.support.receiver import RIGHTS, TOKEN, Receiver, a_report, receiving


@pytest.fixture
async def receiver(stage: Stage, vhost: VirtualHost, tmp_path: Path) -> AsyncIterator[Receiver]:
    """Run a receiver whose user may do nothing but publish results."""
    with user(vhost, **RIGHTS) as url:
        async with receiving(tmp_path / "receiver", url) as receiver:
            yield receiver
            assert TOKEN not in receiver.process.text
            assert stage.url


def types(stage: Stage) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for event in stage.events:
        found.setdefault(event.subject, []).append(event.type)
    return found


def in_xml(report: dict[str, Any]) -> bytes:
    document = Element("omniReportsResponse")

    def fill(parent: Element, values: dict[str, Any]) -> None:
        for name, value in values.items():
            child = SubElement(parent, name)
            if isinstance(value, dict):
                fill(child, value)
            else:
                child.text = str(value).lower() if isinstance(value, bool) else str(value)

    fill(SubElement(SubElement(document, "results"), "result"), report)
    return tostring(document)


@pytest.mark.once
async def test_reports_become_events_and_intermediate_ones_do_not(stage: Stage, receiver: Receiver) -> None:
    seen = {"messageId": "seen", "to": "41", "sendAt": "2026-11-22T11:59:00Z", "seenAt": "2026-11-22T12:00:00Z"}
    reports = [a_report(f"group-{group}", group) for group in range(6)]
    unreadable = [7, {"messageId": "x"}]

    assert await receiver.push(*reports, seen, *unreadable) == 200
    await stage.until(lambda: len(stage.events) >= 5)

    assert types(stage) == {
        "group-2": ["undelivered"],
        "group-3": ["delivered"],
        "group-4": ["undelivered"],
        "group-5": ["undelivered"],
        "seen": ["seen"],
    }
    (event,) = (one for one in stage.events if one.subject == "group-3")
    assert event.message.routing_key == "message.delivered"
    assert event.message.message_id == event.body["id"]
    assert event.message.delivery_mode == 2
    metrics = await receiver.process.metrics()
    counted = {
        (channel, outcome): metrics[f'omni_relay_reports_total{{channel="{channel}",outcome="{outcome}"}}']
        for channel, outcome in [
            ("SMS", "delivered"),
            ("SMS", "undelivered"),
            ("SMS", "intermediate"),
            ("other", "seen"),
            ("other", "unreadable"),
        ]
    }
    assert list(counted.values()) == [1, 3, 2, 1, 2]
    assert metrics['omni_relay_report_pushes_total{answer="confirmed"}'] == 1


@pytest.mark.once
async def test_a_report_that_is_pushed_again_in_either_format_has_the_same_event_id(
    stage: Stage, receiver: Receiver
) -> None:
    assert await receiver.push(a_report("007")) == 200
    assert await receiver.push(a_report("007")) == 200
    assert (await receiver.post(in_xml(a_report("007")), {"content-type": "application/xml"})).status_code == 200
    await stage.until(lambda: len(stage.events) >= 3)

    assert {event.subject for event in stage.events} == {"007"}
    assert len({json.dumps(event.body, sort_keys=True) for event in stage.events}) == 1


@pytest.mark.once
async def test_each_of_several_tokens_is_valid_and_no_other(stage: Stage, vhost: VirtualHost, tmp_path: Path) -> None:
    old, new = "an-old-token-0123456", "a-new-token-01234567"
    with user(vhost, **RIGHTS) as url:
        async with receiving(tmp_path / "receiver", url, REPORTS_TOKEN=f"{old}, {new}") as receiver:
            assert [await receiver.push(a_report(token), token=token) for token in (old, new)] == [200, 200]
            wrong = [old[:-1], f"{old}x", old.upper(), TOKEN, "", f"{old}/", f"{old},{new}"]
            assert {await receiver.push(a_report("wrong"), token=token) for token in wrong} == {404}
            for method, path in (
                ("GET", f"/reports/{old}"),
                ("PUT", f"/reports/{old}"),
                ("POST", f"/{old}"),
                ("GET", "/"),
            ):
                assert (await receiver.client.request(method, path)).status_code == 404
            metrics = await receiver.process.metrics()
            assert metrics['omni_relay_report_pushes_total{answer="wrong_token"}'] == len(wrong)
            assert metrics['omni_relay_report_pushes_total{answer="not_found"}'] == 4
            await stage.until(lambda: len(stage.events) >= 2)
            assert set(types(stage)) == {old, new}
            text = receiver.process.text + (await receiver.process.get("/metrics"))[1]
            assert old not in text
            assert new not in text


async def test_tokens_and_the_brokers_password_are_replaced_while_pushes_run_and_no_report_is_lost(
    stage: Stage, vhost: VirtualHost, tmp_path: Path
) -> None:
    """As Kubernetes replaces a mounted secret: by exchanging a link."""
    old, new = "an-old-token-0123456", "a-new-token-01234567"
    statuses: list[int] = []
    with user(vhost, **RIGHTS) as direct, user(vhost, **RIGHTS) as directly:
        async with Proxy(vhost.node.port) as proxy:
            first, second = (url.replace(str(vhost.node.port), str(proxy.port)) for url in (direct, directly))
            secrets = mounted(tmp_path / "secrets", REPORTS_TOKEN=old, RABBITMQ_URL=first)
            starting = receiving(tmp_path / "receiver", "", SECRETS_DIR=str(secrets), REPORTS_TOKEN="")
            async with starting as receiver:

                async def replace(event: str, **values: str) -> None:
                    before = len(receiver.process.lines(event))
                    mounted(secrets, **values)
                    receiver.process.send(signal.SIGHUP)
                    await receiver.process.until(lambda: len(receiver.process.lines(event)) > before)

                async def push_steadily(token: str) -> None:
                    while True:
                        statuses.append(await receiver.push(a_report(f"m-{len(statuses)}"), token=token))

                async def end(pushing: asyncio.Task[None]) -> None:
                    pushed = len(statuses)
                    await receiver.process.until(lambda: len(statuses) > pushed)
                    pushing.cancel()

                assert await receiver.push(a_report("x"), token=new) == 404
                pushing = asyncio.create_task(push_steadily(old))
                await replace("secrets.reloaded", REPORTS_TOKEN=f"{old},{new}", RABBITMQ_URL=first)
                await end(pushing)
                pushing = asyncio.create_task(push_steadily(new))
                await replace("secrets.reloaded", REPORTS_TOKEN=new, RABBITMQ_URL=second)
                assert await receiver.push(a_report("x"), token=old) == 404
                await end(pushing)
                await replace("secrets.refused", REPORTS_TOKEN="short", RABBITMQ_URL=second)  # and the others stay
                name = first.split("/")[2].split(":")[0]
                manage(vhost.node, "DELETE", f"permissions/{vhost.name}/{name}")
                proxy.cut()
                assert 200 in [await receiver.push(a_report(f"m-{len(statuses)}"), token=new) for _ in range(3)]
                text = receiver.process.text + (await receiver.process.get("/metrics"))[1]
                assert [secret for secret in (old, new, "made-up") if secret in text] == []
    assert set(statuses) == {200}
    await stage.until(lambda: types(stage).keys() == {f"m-{number}" for number in range(len(statuses) + 1)})


@pytest.mark.once
async def test_a_receiver_without_a_token_says_which_setting_is_missing(stage: Stage) -> None:
    ended = await stage.command("reports")
    assert ended.status == 78
    assert "RELAY_REPORTS_TOKEN" in ended.errors


async def test_without_a_broker_a_push_is_to_be_made_again(stage: Stage, tmp_path: Path) -> None:
    async with receiving(tmp_path / "receiver", "amqp://127.0.0.1:1/", connected=False) as receiver:
        answer = await receiver.post(json.dumps({"results": [a_report("m")]}).encode())
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        status, body = await receiver.process.readiness()
        assert (status, body["reason"]) == (503, "not connected to RabbitMQ")
        assert (await receiver.process.get("/livez"))[0] == 200
    assert stage.events == []


async def test_a_receiver_that_may_not_publish_does_not_say_that_it_has(
    stage: Stage, vhost: VirtualHost, tmp_path: Path
) -> None:
    with user(vhost) as url:
        async with receiving(tmp_path / "receiver", url) as receiver:
            assert await receiver.push(a_report("m")) == 503
            assert (await receiver.process.until_line("broker.disconnected"))["cause"] == "access_refused"
    assert stage.events == []


async def test_a_full_results_queue_is_answered_with_503_and_nothing_is_lost(stage: Stage, receiver: Receiver) -> None:
    async with stage.channel() as channel:
        queue = await channel.declare_queue(
            "full", durable=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
        )
        await queue.bind("omni.results", "#")
        reports = [a_report(f"m-{number}") for number in range(5)]
        assert await receiver.push(*reports) == 503
        await channel.queue_delete("full")
    assert await receiver.push(*reports) == 200
    await stage.until(lambda: len(types(stage)) == 5)
    assert all(len({one.body["id"] for one in stage.about(name)}) == 1 for name in types(stage))


@pytest.mark.once
async def test_a_receiver_that_is_asked_to_stop_answers_what_it_has_begun(stage: Stage, receiver: Receiver) -> None:
    body = json.dumps({"results": [a_report("begun")]}).encode()
    head = f"POST /reports/{TOKEN} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    writer.write(head.encode() + b"content-length: %d\r\n\r\n" % len(body))
    assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
    receiver.process.send(signal.SIGTERM)
    await receiver.process.until_line("reports.stopping")
    assert (await receiver.process.readiness())[1]["reason"] == "stopping"
    writer.write(body)
    assert b" 200 " in await reader.readuntil(b"\r\n")
    assert await receiver.process.ended() == 0
    writer.close()
    await stage.until(lambda: set(types(stage)) == {"begun"})
    with pytest.raises(httpx.ConnectError):
        await receiver.push(a_report("late"))


@pytest.mark.once
async def test_what_omni_says_about_a_message_comes_back_as_events(stage: Stage, receiver: Receiver) -> None:
    """The last digits of a number name the step that delivers: 92000 none, 92101 the first, and it is seen."""
    await stage.worker(REPORTS_URL=f"http://127.0.0.1:{receiver.port}/reports", REPORTS_TOKEN=f"{TOKEN},{TOKEN}-old")
    await stage.sandbox.post("/sandbox/clock", json={"speed": 100})
    numbers = {"delivered": "41790092100", "undelivered": "41790092000", "seen": "41790092101"}
    for name, number in numbers.items():
        step = {"text": "Hello", "validityPeriod": 1}
        await stage.send({"requestId": name, "messageId": name, "phoneNumber": number, "sms": step})
    await stage.send(
        {"requestId": "own", "phoneNumber": numbers["seen"], "text": "Hello", "notifyUrl": "http://127.0.0.1:1/own"},
        {"requestId": "none", "phoneNumber": numbers["seen"], "text": "Hello", "notify": False},
    )
    await stage.until(lambda: len(stage.events) >= 9)
    await asyncio.sleep(0.5)

    assert {name: sorted(types(stage)[name]) for name in numbers} == {
        "delivered": ["accepted", "delivered"],
        "undelivered": ["accepted", "undelivered"],
        "seen": ["accepted", "delivered", "seen"],
    }
    assert len(stage.events) == 9
    calls = {
        tuple(one["messageId"] for one in call["body"]["destinations"]): call["body"] for call in await stage.calls()
    }
    asked = [body.get("notifyUrl") for body in calls.values()]
    assert sorted(map(str, asked)) == sorted(
        [*[f"http://127.0.0.1:{receiver.port}/reports/{TOKEN}"] * (len(asked) - 2), "None", "http://127.0.0.1:1/own"]
    )
    assert all(TOKEN not in event.message.body.decode() for event in stage.events)


@pytest.mark.once
async def test_the_token_is_rotated_without_a_restart_of_receiver_or_worker(
    stage: Stage, vhost: VirtualHost, tmp_path: Path
) -> None:
    new = f"{TOKEN}-new"
    with user(vhost, **RIGHTS) as url:
        secrets = mounted(tmp_path / "receivers", REPORTS_TOKEN=TOKEN, RABBITMQ_URL=url)
        own = mounted(tmp_path / "workers", REPORTS_TOKEN=TOKEN)
        worker = await stage.worker(SECRETS_DIR=str(own), REPORTS_URL="https://relay.example/reports")
        async with receiving(tmp_path / "receiver", "", REPORTS_TOKEN="", SECRETS_DIR=str(secrets)) as receiver:
            assert (await receiver.push(a_report("m-1")), await receiver.push(token=new)) == (200, 404)
            mounted(secrets, REPORTS_TOKEN=f"{TOKEN},{new}", RABBITMQ_URL=url)
            mounted(own, REPORTS_TOKEN=new)
            receiver.process.send(signal.SIGHUP)
            worker.send(signal.SIGHUP)
            assert (await receiver.process.until_line("secrets.reloaded"))["changed"] == ["RELAY_REPORTS_TOKEN"]
            await worker.until_line("secrets.reloaded")
            assert [await receiver.push(a_report("m-2"), token=one) for one in (TOKEN, new)] == [200, 200]
            await stage.send({"requestId": "r", "phoneNumber": "41793026727", "text": "Hello"})
            await stage.until_final_events(3)
            (call,) = await stage.calls()
            assert call["body"]["notifyUrl"] == f"https://relay.example/reports/{new}"
            mounted(secrets, REPORTS_TOKEN="short", RABBITMQ_URL=url)
            receiver.process.send(signal.SIGHUP)
            refused = await receiver.process.until_line("secrets.refused")
            assert refused["fault"].startswith("RELAY_REPORTS_TOKEN: must be 16 to 200 characters")
            mounted(secrets, RABBITMQ_URL=url).joinpath("RELAY_REPORTS_TOKEN").unlink()  # the last one stays in use
            receiver.process.send(signal.SIGHUP)
            await receiver.process.until_line("settings.need_restart")
            assert await receiver.push(a_report("m-3"), token=new) == 200
            metrics = await receiver.process.metrics()
            assert metrics["omni_relay_reports_secret_reload_failures_total"] >= 1
            assert metrics['omni_relay_reports_secret_age_seconds{setting="RELAY_REPORTS_TOKEN"}'] < 60
            assert TOKEN not in receiver.process.text + worker.text
