"""`omni-relay find` gives what is known about an id, and names the places that it could not ask."""

import json
from typing import Any

import pytest

from tests.e2e.stage import Stage
from tests.e2e.test_trying_again import NUMBER, UNAVAILABLE, request
from tests.support.broker import VirtualHost, user
from tests.unit.adapters.rabbitmq.test_permissions import shipped

TEXT = "hello"


async def found(stage: Stage, name: str) -> tuple[int, dict[str, Any]]:
    ended = await stage.command("find", name, "--json")
    assert "Traceback" not in ended.errors
    for private in (NUMBER, UNAVAILABLE, TEXT):
        assert private not in ended.output + ended.errors
    return ended.status, json.loads(ended.output)


@pytest.mark.once
async def test_a_message_that_omni_took_is_found_in_its_logs(stage: Stage) -> None:
    await stage.worker()
    await stage.send({**request("m", NUMBER), "requestId": "order"})
    await stage.until_final_events(1)
    status, known = await found(stage, "m")
    shown = await stage.command("find", "m")

    assert (status, known["known"], known["deadLetters"]) == (0, True, [])
    (entry,) = known["omniLogs"]
    assert entry["messageId"] == "m"
    assert entry["status"]["name"]
    assert (shown.status, NUMBER in shown.output) == (0, False)
    assert shown.output.startswith("OMNI's logs    message m: ")


async def test_a_dead_letter_is_found_by_its_request_and_by_its_message_and_stays_where_it_is(stage: Stage) -> None:
    await stage.worker(RETRY_MAX_ATTEMPTS="1")
    for name in ("order-1", "order-2", "order-3"):
        await stage.send({**request(f"m-{name}", UNAVAILABLE), "requestId": name})
    await stage.until_waiting("omni.dead", 3)
    by_request, by_message = await found(stage, "order-2"), await found(stage, "m-order-2")
    shown = await stage.command("find", "order-2")

    for status, known in (by_request, by_message):
        (dead_letter,) = known["deadLetters"]
        assert (status, known["known"]) == (0, True)
        assert (dead_letter["requestId"], dead_letter["messageIds"]) == ("order-2", ["m-order-2"])
        assert (dead_letter["reason"], dead_letter["attempts"]) == ("failed", 1)
    assert "omni.dead      request order-2: failed (http_503)" in shown.output
    listed = await stage.command("dead", "list", "--json")
    requests = sorted(json.loads(line)["requestId"] for line in listed.output.splitlines())
    assert requests == ["order-1", "order-2", "order-3"]


@pytest.mark.once
async def test_an_id_that_has_left_no_trace_is_a_fault_that_names_the_places_not_asked(stage: Stage) -> None:
    await stage.worker()
    status, known = await found(stage, "nothing")

    assert (status, known["known"]) == (1, False)
    assert known["notAsked"] == [
        "requests that wait in omni.requests, omni.requests.urgent or a delay queue: RabbitMQ cannot search a queue"
    ]


@pytest.mark.once
async def test_a_place_that_gives_no_answer_does_not_hide_the_other(stage: Stage, unused_tcp_port: int) -> None:
    await stage.worker(RETRY_MAX_ATTEMPTS="1")
    await stage.send(request("taken", NUMBER))
    await stage.until_final_events(1)
    await stage.send(request("dead", UNAVAILABLE))  # apart, since a call that both share would fail for both
    await stage.until_waiting("omni.dead", 1)
    nowhere = f"127.0.0.1:{unused_tcp_port}"
    no_broker = await stage.command("find", "taken", RABBITMQ_URL=f"amqp://guest:canary@{nowhere}/")
    no_omni = await stage.command("find", "dead", OMNI_BASE_URL=f"http://{nowhere}")
    wrong_key = await stage.command("find", "dead", OMNI_API_KEY="wrong-canary")
    no_key = await stage.command("find", "dead", OMNI_API_KEY="")
    nothing = await stage.command("find", "dead", RABBITMQ_URL=f"amqp://{nowhere}/", OMNI_BASE_URL=f"http://{nowhere}")

    assert [ended.status for ended in (no_broker, no_omni, wrong_key, no_key, nothing)] == [0, 0, 0, 0, 1]
    assert "not asked      omni.dead: " in no_broker.output
    assert "not asked      OMNI's logs: no answer (no_connection)" in no_omni.output
    assert "not asked      OMNI's logs: no answer (http_401)" in wrong_key.output
    assert "not asked      OMNI's logs: RELAY_OMNI_API_KEY" in no_key.output
    for ended in (no_broker, no_omni, wrong_key, no_key, nothing):
        assert "canary" not in ended.output + ended.errors


async def test_a_workers_rights_are_enough_and_a_missing_one_is_named(stage: Stage, vhost: VirtualHost) -> None:
    await stage.worker(RETRY_MAX_ATTEMPTS="1")
    await stage.send(request("dead", UNAVAILABLE))
    await stage.until_waiting("omni.dead", 1)
    with user(vhost, **shipped()) as url:
        enough = await stage.command("find", "dead", RABBITMQ_URL=url)
    with user(vhost) as url:
        lacking = await stage.command("find", "dead", RABBITMQ_URL=url)

    assert (enough.status, lacking.status) == (0, 1), enough.output + lacking.output
    assert "omni.dead: this user may not read it" in lacking.output
    assert "Traceback" not in lacking.errors
