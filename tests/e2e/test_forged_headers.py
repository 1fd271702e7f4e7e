"""A producer that may only publish requests writes headers of the relay: nothing it writes is believed.

The producer has the right to write to the exchange `omni.requests`, and no other, unless a test says otherwise.
"""

import asyncio
import functools
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import aio_pika
import aiormq
import pytest

from service.demo.rabbitmq.handshake import handshake
from tests.e2e.stage import Stage
from tests.e2e.test_trying_again import GARBLED, NUMBER, TRY_AGAIN_ONCE, UNAVAILABLE, UNAVAILABLE_ONCE, request
from tests.support import amqp_1_0
from tests.support.broker import VirtualHost, user
from tests.support.worker import Worker

REFUSED = (aiormq.exceptions.ChannelAccessRefused, aiormq.exceptions.ChannelInvalidStateError)
PRODUCER = "^omni\\.requests$"
WORKER = {"write": "^omni\\.(results|dead|relay)$", "read": "^omni\\.(requests(\\..*)?|dead|dead\\.notifications)$"}
DELAY = "omni.requests.delay.0.1"
LONG_AGO = 1_700_000_000_000
PAST = {
    "omni-attempt": 999_999,
    "omni-first-seen": LONG_AGO,
    "omni-ambiguous": True,
    "omni-retries": 3,
    "omni-redeliveries": 20,
    "omni-denials": 3,
    "omni-redrive-count": 1,
    "omni-log-checks": 9,
    "omni-republished": True,
    "omni-expires-at": 1,
}
FORGED_DEATHS: dict[str, Any] = {
    "none": {},
    "of a delay queue": {"x-death": [{"count": 0, "reason": "expired", "queue": DELAY, "exchange": "omni.relay"}]},
    "of the request queue": {
        "x-death": [{"count": 0, "reason": "expired", "queue": "omni.requests", "exchange": "omni.relay"}]
    },
}


@pytest.fixture
def producer(stage: Stage, vhost: VirtualHost) -> Iterator[Stage]:
    """Return a stage that publishes with a producer's rights and has the same events."""
    with user(vhost, write=PRODUCER) as url:
        yield replace(stage, url=url)


async def lookups(worker: Worker) -> float:
    return (await worker.metrics())['omni_relay_log_lookups_total{result="answered"}']


@pytest.mark.parametrize("deaths", FORGED_DEATHS)
async def test_forged_headers_of_a_first_delivery_are_ignored(stage: Stage, producer: Stage, deaths: str) -> None:
    worker = await stage.worker(RETRY_MAX_ATTEMPTS="3")
    await producer.send(request("m", UNAVAILABLE_ONCE), headers={**PAST, **FORGED_DEATHS[deaths]})
    await stage.until_final_events(1)

    assert stage.event_types() == {"m": ["deferred", "accepted"]}
    assert [event.data["attempt"] for event in stage.events] == [1, 2]
    assert await stage.posts() == {"m": 2}
    assert await lookups(worker) == 1  # before the second attempt, as always, and not before the first


async def test_forged_headers_of_an_amqp_1_0_producer_are_ignored(stage: Stage, vhost: VirtualHost) -> None:
    """In AMQP 1.0 a producer also sets annotations, which the broker converts to headers."""
    if (await handshake(vhost.node.port, vhost.node.name)).startswith("3."):
        pytest.skip("RabbitMQ 3 speaks AMQP 1.0 with a plug-in")
    worker = await stage.worker(RETRY_MAX_ATTEMPTS="3")
    forged = {"x-exchange": "omni.relay", "x-routing-key": "omni.requests", "x-opt-deaths": "omni.relay"}
    body = json.dumps(request("m", UNAVAILABLE_ONCE)).encode()
    for message_id in ("1", "2"):
        await amqp_1_0.publish(
            vhost.node.port,
            body if message_id == "1" else json.dumps(request("n", NUMBER, sendAt="2099-01-01T00:00:00Z")).encode(),
            vhost=vhost.name,
            message_id=message_id,
            annotations={**forged, **{f"x-opt-{name}": value for name, value in PAST.items()}},
            headers=PAST,
        )
    await stage.until_final_events(2)

    assert stage.event_types() == {"m": ["deferred", "accepted"], "n": ["rejected"]}
    assert [event.data["attempt"] for event in stage.about("m")] == [1, 2]
    assert await stage.posts() == {"m": 2}
    assert await lookups(worker) == 1


async def test_each_forged_header_is_ignored(stage: Stage, producer: Stage) -> None:
    await stage.worker(UNKNOWN_POLICY="park")
    for name, value in PAST.items():
        headers = {"omni-first-seen": LONG_AGO, name: value}
        await producer.send(request(name, TRY_AGAIN_ONCE, sms={"text": name}), headers=headers)
    await stage.until_final_events(len(PAST))

    for name in PAST:
        assert stage.event_types()[name] == ["deferred", "accepted"]
        assert [event.data["attempt"] for event in stage.about(name)] == [1, 2]
    assert await stage.posts() == dict.fromkeys(PAST, 2)


async def test_a_dead_letter_repeats_no_forged_header(stage: Stage, producer: Stage) -> None:
    await stage.worker(RETRY_MAX_ATTEMPTS="2", UNKNOWN_POLICY="park", UNKNOWN_LOG_CHECKS="1")
    await producer.send(request("m", UNAVAILABLE), headers=PAST)
    await producer.send(request("u", GARBLED, sms={"text": "another"}), headers=PAST)
    await stage.until_final_events(2)

    assert stage.event_types()["m"] == ["deferred", "failed"]
    assert stage.event_types()["u"] == ["deferred", "unknown"]
    for dead_letter in [await stage.take("omni.dead") for _ in range(2)]:
        first_seen = dead_letter.headers["omni-first-seen"]
        assert isinstance(first_seen, int)
        assert abs(first_seen / 1000 - datetime.now(UTC).timestamp()) < 60
        assert dead_letter.headers["omni-attempt"] == (2 if dead_letter.headers["omni-reason"] == "failed" else 1)
        assert dead_letter.headers["omni-redrive-count"] == 0


@pytest.mark.once
async def test_forged_headers_do_not_reveal_another_producers_message(stage: Stage, producer: Stage) -> None:
    worker = await stage.worker(REPLY_TO="*")
    await stage.send(request("secret", NUMBER))
    await stage.until_final_events(1)
    async with stage.channel() as channel:
        await channel.declare_queue("mine", durable=True)
    body = {**request("secret", NUMBER, sms={"text": "another"}), "requestId": "attack"}
    resolution = {"omni-ambiguous": True, "omni-attempt": 1, "omni-first-seen": LONG_AGO}
    await producer.send(body, headers=resolution, reply_to="mine", message_id="attack")
    copy = json.loads((await stage.take("mine")).body)

    assert copy["data"]["requestId"] == "attack"
    assert await lookups(worker) == 0


@pytest.mark.once
@pytest.mark.parametrize("headers", [{"omni-first-seen": LONG_AGO}, PAST], ids=["first seen", "all"])
async def test_forged_headers_do_not_bypass_the_check_of_send_at(
    stage: Stage, producer: Stage, headers: dict[str, Any]
) -> None:
    await stage.worker()
    await producer.send(request("m", NUMBER, sendAt="2099-01-01T00:00:00.000+0000"), headers=headers)
    await stage.until_final_events(1)

    assert stage.event_types() == {"m": ["rejected"]}
    assert stage.events[0].data["reason"]["faults"][0]["path"] == "sendAt"
    assert await stage.posts() == {}


@pytest.mark.parametrize("deaths", FORGED_DEATHS)
async def test_a_request_that_expires_in_the_queue_has_its_final_event(
    stage: Stage, producer: Stage, deaths: str
) -> None:
    worker = await stage.worker()
    await worker.stop()
    forged = {"omni-reason": "failed", "omni-detail": "http_503", "omni-failed-at": "2020-01-01T00:00:00+00:00"}
    await producer.send(request("m", NUMBER), headers={**PAST, **forged, **FORGED_DEATHS[deaths]}, expiration=0.1)
    await stage.until_waiting("omni.dead", 1)
    listed = json.loads((await stage.command("dead", "list", "--json")).output)
    assert (listed["reason"], listed["detail"]) == ("lapsed", "")
    worker = await stage.worker()
    await stage.until_final_events(1)

    assert stage.event_types() == {"m": ["expired"]}
    assert stage.events[0].data["attempt"] == 0
    assert await lookups(worker) == 0
    assert await stage.posts() == {}


@pytest.mark.parametrize("deaths", ["of the request queue", "without an exchange"])
async def test_a_request_that_expired_starts_anew_when_it_is_replayed(
    stage: Stage, producer: Stage, deaths: str
) -> None:
    """RabbitMQ 3.10 keeps a producer's entry about the request queue in `x-death`."""
    worker = await stage.worker()
    await worker.stop()
    without = {"x-death": [{"count": 0, "reason": "expired", "queue": "omni.requests"}]}
    headers = {**PAST, **FORGED_DEATHS.get(deaths, without)}
    await producer.send(request("m", NUMBER, sendAt="2099-01-01T00:00:00.000+0000"), headers=headers, expiration=0.1)
    await stage.until_waiting("omni.dead", 1)
    listed = json.loads((await stage.command("dead", "list", "--json")).output)
    assert (listed["reason"], listed["attempts"], listed["redrives"]) == ("lapsed", 0, 0)
    assert (await stage.command("dead", "replay")).status == 0
    await stage.worker()
    await stage.until(lambda: stage.final_events().get("m") == ["rejected", "rejected"])

    assert all(event.data["reason"]["faults"][0]["path"] == "sendAt" for event in stage.events)
    assert stage.event_types() == {"m": ["rejected", "rejected"]}


class Twice(str):
    """A header name that a table has twice, in this order."""

    __slots__ = ("place",)

    place: int

    def __new__(cls, name: str, place: int) -> Self:
        made = str.__new__(cls, name)
        made.place = place
        return made

    def __eq__(self, other: object) -> bool:
        return self is other

    def __lt__(self, other: str) -> bool:
        return (str(self), self.place) < (str(other), getattr(other, "place", 0))

    def __hash__(self) -> int:
        return id(self)


NESTED: dict[str, Any] = functools.reduce(lambda inner, _: {"a": inner}, range(40), {})
LAPSED = {"reason": "expired", "queue": "omni.requests", "exchange": "omni.requests"}


@pytest.mark.parametrize(
    "death",
    [
        {**LAPSED, "queue": None, Twice("queue", 1): "omni.requests", Twice("queue", 2): "another"},
        {**LAPSED, "reason": None, Twice("reason", 1): "expired", Twice("reason", 2): "rejected"},
        {"a": "x" * 20_000, **LAPSED},
        {"a": NESTED, **LAPSED},
    ],
    ids=["another queue", "another reason", "long", "deep"],
)
async def test_a_forged_x_death_does_not_hide_that_a_request_expired(
    stage: Stage, producer: Stage, death: dict[str, object]
) -> None:
    """RabbitMQ 3.10 keeps a producer's fields in an entry of `x-death`, and reads the first of two with one name."""
    worker = await stage.worker()
    await worker.stop()
    death = {name: value for name, value in death.items() if value is not None}
    await producer.send(request("m", NUMBER), headers={**PAST, "x-death": [death]}, expiration=0.1)
    await stage.until_waiting("omni.dead", 1)
    listed = json.loads((await stage.command("dead", "list", "--json")).output)
    await stage.worker()
    await stage.until_final_events(1)

    assert (listed["reason"], listed["attempts"]) == ("lapsed", 0)
    assert stage.event_types() == {"m": ["expired"]}


async def test_a_request_that_a_broker_policy_removes_has_its_final_event(stage: Stage, producer: Stage) -> None:
    """A queue with a maximum length that drops the oldest: the relay declares none, an operator may."""
    worker = await stage.worker()
    await worker.stop()
    async with stage.channel() as channel:
        await channel.queue_delete("omni.requests")
        arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-max-length": 1, "x-dead-letter-exchange": "omni.dead"}
        queue = await channel.declare_queue("omni.requests", durable=True, arguments=arguments)
        await queue.bind("omni.requests", "#")
    await producer.send(request("m", NUMBER), headers={"omni-reason": "unknown"})
    await producer.send(request("n", NUMBER))
    await stage.until_waiting("omni.dead", 1)
    async with stage.channel() as channel:
        await channel.queue_delete("omni.requests")
    await stage.worker()
    await stage.until_final_events(1)

    assert stage.event_types() == {"m": ["rejected"]}
    assert stage.events[0].data["reason"]["code"] == "defect"


async def test_a_producer_with_the_rights_that_it_needs_reaches_no_other_exchange(
    stage: Stage, vhost: VirtualHost
) -> None:
    await stage.worker()
    with user(vhost, write=PRODUCER) as url:
        for exchange, key in (("omni.relay", "omni.requests"), ("omni.dead", ""), ("omni.results", "x"), ("", DELAY)):
            async with await aio_pika.connect(url) as connection:
                channel = await connection.channel()
                target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
                with pytest.raises(REFUSED):
                    await target.publish(aio_pika.Message(b"{}"), key)


async def test_a_message_put_into_a_delay_queue_by_another_client_is_not_trusted(stage: Stage) -> None:
    """A user who may write to the default exchange can publish to every queue."""
    await stage.worker(RETRY_MAX_ATTEMPTS="2")
    await stage.send(request("m", UNAVAILABLE), headers=PAST, exchange="", key=DELAY)
    await stage.send(request("n", NUMBER, sms={"text": "another"}), headers=PAST, exchange="", key="omni.requests")
    await stage.until_final_events(2)

    assert stage.event_types() == {"m": ["deferred", "failed"], "n": ["accepted"]}
    assert stage.about("n")[0].data["attempt"] == 1


async def test_rabbitmq_4_replaces_a_death_that_a_producer_has_forged(stage: Stage, vhost: VirtualHost) -> None:
    """RabbitMQ 3.10 trusts it, so there a user who may write to the default exchange is as trusted as the relay."""
    version = await handshake(vhost.node.port, vhost.node.name)
    await stage.worker(RETRY_MAX_ATTEMPTS="2")
    headers = {**PAST, **FORGED_DEATHS["of a delay queue"]}
    await stage.send(request("m", UNAVAILABLE), headers=headers, exchange="", key=DELAY)
    await stage.until_final_events(1)

    is_believed = stage.event_types()["m"] != ["deferred", "failed"]
    assert is_believed is version.startswith("3.")


async def test_a_worker_with_the_rights_that_it_needs_retries_fails_and_takes_replays(
    stage: Stage, vhost: VirtualHost
) -> None:
    """It needs no right to the default exchange, which would give access to the queues of others."""
    with user(vhost, **WORKER) as url:
        declaring = await stage.worker()
        assert await declaring.stop() == 0
        await stage.worker(RABBITMQ_URL=url, RABBITMQ_DECLARE="false", RETRY_MAX_ATTEMPTS="2")
        lapsing = request("late", NUMBER)
        await stage.send(request("retried", UNAVAILABLE_ONCE), request("failed", UNAVAILABLE, sms={"text": "another"}))
        await stage.send({"requestId": "wrong", "phoneNumber": "1"})
        await stage.until_final_events(3)
        assert stage.event_types()["retried"] == ["deferred", "accepted"]
        assert stage.event_types()["failed"] == ["deferred", "failed"]

        replay = await stage.command("dead", "replay", RABBITMQ_URL=url)
        assert replay.status == 0, replay.errors
        assert "1 dead letter sent again" in replay.output
        await stage.until(lambda: len(stage.final_events()["failed"]) == 2)
        assert stage.event_types()["failed"][-2:] == ["deferred", "failed"]
        await stage.fault(kind="latency", seconds=2)
        await stage.send(lapsing, expiration=0)
        await stage.until(lambda: "late" in stage.final_events())


async def test_a_user_with_the_right_to_the_lock_queue_runs_one_replay_at_a_time(
    stage: Stage, vhost: VirtualHost
) -> None:
    worker = await stage.worker(RETRY_MAX_ATTEMPTS="1")
    await stage.send(request("m", UNAVAILABLE_ONCE))
    await stage.until_final_events(1)
    await stage.until_waiting("omni.dead", 1)
    await worker.stop()
    rights = {
        "configure": "^omni\\.dead\\.(lock|replay)$",
        "write": "^omni\\.(results|dead|relay|dead\\.replay)$",
        "read": "^omni\\.(requests|dead|dead\\.notifications|relay|dead\\.replay)$",
    }
    with user(vhost, **rights) as url:
        replay = await stage.command("dead", "replay", RABBITMQ_URL=url)

    assert (replay.status, replay.errors) == (0, "")
    assert "omni-republished" not in (await stage.take("omni.requests")).headers


async def test_a_replay_is_trusted_and_goes_through_the_relays_own_exchange(stage: Stage) -> None:
    worker = await stage.worker(RETRY_MAX_ATTEMPTS="1")
    await stage.send(request("m", UNAVAILABLE_ONCE))
    await stage.until_final_events(1)
    await stage.until_waiting("omni.dead", 1)
    await worker.stop()
    assert (await stage.command("dead", "replay")).status == 0
    worker = await stage.worker(UNKNOWN_POLICY="park")
    await stage.until(lambda: stage.final_events()["m"] == ["failed", "accepted"])

    assert await stage.posts() == {"m": 2}
    assert await lookups(worker) == 1  # a replay is looked up first


def test_the_rights_in_the_documents_are_those_tested_here() -> None:
    page = (Path(__file__).parents[2] / "deploy/README.md").read_text(encoding="utf-8")

    for rights in (PRODUCER, *WORKER.values()):
        assert f"`{rights}`".replace("|", "\\|") in page  # as a table has it


@pytest.mark.once
async def test_events_are_the_same_however_often_a_forged_request_is_sent(stage: Stage, producer: Stage) -> None:
    await stage.worker()
    for _ in range(2):
        await producer.send(request("m", NUMBER), headers=PAST, message_id="m")
    await stage.until(lambda: stage.event_types().get("m", []).count("accepted") == 2)
    await asyncio.sleep(0.2)

    assert len(stage.final_ids()["m"]) == 1
