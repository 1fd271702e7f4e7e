"""The connection to a real RabbitMQ: topology, publishing, consuming, and recovery."""

import asyncio
import contextlib
import contextvars
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aio_pika
import aiormq
import pamqp.commands
import pamqp.frame
import pytest
import yaml
from aiormq.abc import ChannelFrame

from service.adapters.rabbitmq import (
    Acknowledger,
    BrokerErrors,
    ConnectionEvents,
    ReconnectingConnection,
    TopologyError,
    UnroutableError,
    connect,
    connect_cause,
)
from service.adapters.rabbitmq.topology import DELIVERY_LIMIT
from service.core import topology
from service.core.delivery import Delivery, Publication
from service.core.forged_headers import can_be_forged
from service.core.topology import LANES, NORMAL, URGENT, Lane
from service.demo.rabbitmq.handshake import handshake
from tests.support.broker import VirtualHost, manage
from tests.support.proxy import Proxy
from tests.support.tls import certificate, forwarded, server_of

SOON = 15.0
"""Most seconds for anything; a test of speed has its own limit."""

KEPT = {"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-dead-letter-strategy": "at-least-once"}
REQUESTS = {**KEPT, "x-delivery-limit": DELIVERY_LIMIT, "x-dead-letter-exchange": "omni.dead"}


def delaying(milliseconds: int, queue: str) -> dict[str, Any]:
    routes = {"x-dead-letter-exchange": "omni.relay", "x-dead-letter-routing-key": queue}
    return {**KEPT, "x-message-ttl": milliseconds, **routes}


QUEUES: dict[str, dict[str, Any]] = {
    "omni.requests": REQUESTS,
    "omni.requests.urgent": REQUESTS,
    "omni.dead": {"x-queue-type": "quorum"},
    "omni.dead.notifications": {"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT},
    "omni.requests.delay.0.2": delaying(200, "omni.requests"),
    "omni.requests.delay.300": delaying(300_000, "omni.requests"),
    "omni.requests.urgent.delay.0.2": delaying(200, "omni.requests.urgent"),
    "omni.requests.urgent.delay.300": delaying(300_000, "omni.requests.urgent"),
}
DELAYS = (0.2, 300.0)

FAST = contextvars.ContextVar("FAST", default=True)


@pytest.fixture(
    autouse=True,
    params=[pytest.param(True, id="fast path"), pytest.param(False, id="library alone", marks=pytest.mark.once)],
)
def fast_path(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test runs with and without the fast path."""
    token = FAST.set(request.param)
    yield
    FAST.reset(token)


@dataclass
class Recorder:
    """The events of a connection."""

    connected: list[str] = field(default_factory=list)
    disconnected: list[str] = field(default_factory=list)
    refused: list[tuple[str, BaseException]] = field(default_factory=list)
    unroutable: list[Publication] = field(default_factory=list)
    repeated: list[BaseException | None] = field(default_factory=list)
    skipped: list[Publication] = field(default_factory=list)

    def events(self) -> ConnectionEvents:
        """Make the functions that record them."""
        return ConnectionEvents(
            connected=self.connected.append,
            disconnected=self.disconnected.append,
            refused=lambda address, error: self.refused.append((address, error)),
            unroutable=self.unroutable.append,
            repeated=lambda _, error: self.repeated.append(error),
            skipped=self.skipped.append,
        )


@dataclass
class Client:
    """A running connection with its deliveries."""

    connection: ReconnectingConnection
    log: Recorder
    running: asyncio.Task[None]
    received: list[Delivery] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def consume(self, *, ack: bool = True) -> None:
        """Take deliveries over all sessions, as the worker does."""

        async def settle(delivery: Delivery, acknowledger: Acknowledger) -> None:
            self.received.append(delivery)
            if ack:
                with contextlib.suppress(aiormq.exceptions.AMQPError, RuntimeError, ConnectionResetError):
                    await acknowledger.ack()
            async with self.changed:
                self.changed.notify_all()

        tasks = set()

        def receive(delivery: Delivery, acknowledger: Acknowledger) -> None:
            tasks.add(asyncio.create_task(settle(delivery, acknowledger)))

        while True:
            session = await self.connection.session()
            try:
                async with session.consuming({NORMAL: 10, URGENT: 10}, receive):
                    await session.broken.wait()
            except (aiormq.exceptions.AMQPError, RuntimeError, OSError):
                session.broken.set()

    async def until(self, condition: Callable[[list[Delivery]], bool], within: float = SOON) -> None:
        """Wait until the deliveries so far are as wanted."""
        async with asyncio.timeout(within), self.changed:
            await self.changed.wait_for(lambda: condition(self.received))


@asynccontextmanager
async def opened(
    *urls: str, delays: Iterable[float] = DELAYS, declare: bool = True, consume: bool = False
) -> AsyncIterator[Client]:
    log = Recorder()
    connection = ReconnectingConnection(urls, delays, log.events(), declare=declare, fast=FAST.get())
    client = Client(connection, log, asyncio.create_task(connection.run()))
    consuming = asyncio.create_task(client.consume()) if consume else None
    try:
        async with asyncio.timeout(SOON):
            first = asyncio.create_task(connection.session())
            await asyncio.wait({client.running, first}, return_when=asyncio.FIRST_COMPLETED)
            first.cancel()
        if client.running.done():
            await client.running
        yield client
    finally:
        for task in (consuming, client.running):
            if task:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, TopologyError):
                    await task


@asynccontextmanager
async def channel_of(url: str) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    """Open a channel of the test's own."""
    async with await aio_pika.connect(url) as connection:
        yield await connection.channel()


def retry(name: str, queue: str = topology.REQUESTS, **fields: Any) -> Publication:  # noqa: ANN401  # its fields
    exchange = topology.RELAY if queue.startswith(topology.REQUESTS) else topology.DIRECT
    return Publication(exchange, queue, b"{}", "application/json", name, **fields)


def event(name: str) -> Publication:
    return Publication(topology.RESULTS, "message.accepted", b"{}", "application/json", name, must_arrive=False)


def names(deliveries: Iterable[Delivery]) -> set[str]:
    return {delivery.message_id or "" for delivery in deliveries}


def listed(vhost: VirtualHost, what: str) -> list[dict[str, Any]]:
    found = manage(vhost.node, "GET", f"{what}/{vhost.name}")
    assert isinstance(found, list)
    return found


async def test_the_topology_is_declared_as_the_contract_has_it(vhost: VirtualHost) -> None:
    async with opened(vhost.url):
        queues = {queue["name"]: (queue["durable"], queue["arguments"]) for queue in listed(vhost, "queues")}
        exchanges = {
            exchange["name"]: (exchange["type"], exchange["durable"])
            for exchange in listed(vhost, "exchanges")
            if exchange["name"].startswith("omni")
        }
        bindings = {
            (binding["source"], binding["routing_key"], binding["destination"])
            for binding in listed(vhost, "bindings")
            if binding["source"]
        }
    assert queues == {name: (True, arguments) for name, arguments in QUEUES.items()}
    assert exchanges == {
        "omni.requests": ("topic", True),
        "omni.requests.urgent": ("topic", True),
        "omni.results": ("topic", True),
        "omni.dead": ("fanout", True),
        "omni.relay": ("direct", True),
    }
    assert bindings == {
        ("omni.requests", "#", "omni.requests"),
        ("omni.requests.urgent", "#", "omni.requests.urgent"),
        ("omni.dead", "#", "omni.dead"),
        ("omni.dead", "#", "omni.dead.notifications"),
        *(("omni.relay", name, name) for name in QUEUES if name != "omni.dead.notifications"),
    }


async def test_declaring_again_changes_nothing_and_a_check_of_the_topology_passes(vhost: VirtualHost) -> None:
    async with opened(vhost.url), opened(vhost.url), opened(vhost.url, declare=False):
        pass


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-queue-type": "classic"},
        {**QUEUES["omni.requests"], "x-delivery-limit": 3},
        {name: value for name, value in QUEUES["omni.requests"].items() if name != "x-dead-letter-strategy"},
    ],
    ids=["classic", "another delivery limit", "dead-lettering at most once"],
)
async def test_a_request_queue_with_other_arguments_is_an_error_and_is_not_changed(
    vhost: VirtualHost, arguments: dict[str, Any]
) -> None:
    async with channel_of(vhost.url) as channel:
        await channel.declare_queue(topology.REQUESTS, durable=True, arguments=arguments)
        await channel.default_exchange.publish(aio_pika.Message(b"kept"), topology.REQUESTS)

        with pytest.raises(TopologyError, match=r"omni\.requests"):
            async with opened(vhost.url):
                pass

        kept = await channel.declare_queue(topology.REQUESTS, durable=True, arguments=arguments)
        assert kept.declaration_result.message_count == 1


async def test_an_exchange_of_another_type_is_an_error_and_is_not_changed(vhost: VirtualHost) -> None:
    async with channel_of(vhost.url) as channel:
        await channel.declare_exchange(topology.RESULTS, "fanout", durable=True)
        with pytest.raises(TopologyError, match=r"omni\.results"):
            async with opened(vhost.url):
                pass
        await channel.declare_exchange(topology.RESULTS, "fanout", durable=True)


async def test_a_worker_that_only_checks_names_missing_objects_and_declares_nothing(vhost: VirtualHost) -> None:
    with pytest.raises(TopologyError, match=r"omni\.requests"):
        async with opened(vhost.url, declare=False):
            pass
    assert listed(vhost, "queues") == []

    async with opened(vhost.url):
        pass
    with pytest.raises(TopologyError, match=r"omni\.requests\.delay\.7"):
        async with opened(vhost.url, delays=(7.0,), declare=False):
            pass
    assert {queue["name"] for queue in listed(vhost, "queues")} == set(QUEUES)


async def test_a_publication_is_confirmed_persistent_and_complete(vhost: VirtualHost) -> None:
    published = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
    async with opened(vhost.url) as client:
        await client.connection.publish(
            [
                retry(
                    "whole",
                    type="omni.test",
                    correlation_id="c",
                    reply_to="r",
                    timestamp=published,
                    priority=3,
                    headers={"omni-attempt": 2, "omni-ambiguous": True, "traceparent": "00-é"},
                )
            ]
        )
        async with channel_of(vhost.url) as channel:
            message = await (await channel.get_queue(topology.REQUESTS)).get(timeout=SOON)
    assert message is not None
    assert (message.body, message.content_type, message.message_id) == (b"{}", "application/json", "whole")
    assert message.delivery_mode is aio_pika.DeliveryMode.PERSISTENT
    assert (message.type, message.correlation_id, message.reply_to) == ("omni.test", "c", "r")
    assert (message.timestamp, message.priority) == (published, 3)
    message.headers.pop("x-delivery-count", None)  # newer brokers write it from the first time on
    assert message.headers == {"omni-attempt": 2, "omni-ambiguous": True, "traceparent": "00-é"}


async def test_an_unroutable_event_is_counted_and_a_retry_message_waits_for_its_delay_queue(
    vhost: VirtualHost,
) -> None:
    delay_seconds = NORMAL.delay_queue(0.2)
    async with opened(vhost.url, consume=True) as client:
        await asyncio.wait_for(client.connection.publish([event("e")]), SOON)
        assert [publication.message_id for publication in client.log.unroutable] == ["e"]
        assert client.log.repeated == []

        async with channel_of(vhost.url) as channel:
            await channel.queue_delete(delay_seconds)
        await asyncio.wait_for(client.connection.publish([retry("l", delay_seconds)]), SOON)

        assert client.log.repeated == [None]
        await client.until(lambda received: names(received) == {"l"})


async def test_publishing_without_a_bound_queue_raises_unroutable(vhost: VirtualHost) -> None:
    session = await connect((vhost.url,))
    with pytest.raises(UnroutableError):
        await session.publish(replace(retry("lost"), exchange=topology.DIRECT))
    await session.close()


async def test_the_version_shows_whether_a_client_can_forge_x_death(vhost: VirtualHost) -> None:
    version = await handshake(vhost.node.port, vhost.node.name)
    session = await connect((vhost.url,))
    await session.close()

    assert can_be_forged(session.server) is version.startswith("3.")


@pytest.mark.parametrize("exchange", ["omni.requests", ""])
async def test_headers_of_the_relay_are_removed_from_a_producers_request(vhost: VirtualHost, exchange: str) -> None:
    forged: dict[str, Any] = {"omni-attempt": 2, "Omni-First-Seen": 1, "tenant": "acme"}
    async with opened(vhost.url, consume=True) as client, channel_of(vhost.url) as channel:
        message = aio_pika.Message(b"{}", message_id="m", headers=forged)
        target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
        await target.publish(message, "omni.requests")
        await client.until(lambda received: names(received) == {"m"})

    headers = {name: value for name, value in client.received[0].headers.items() if not name.startswith("x-")}
    assert headers == {"tenant": "acme"}


@pytest.mark.parametrize("lane", LANES, ids=lambda lane: lane.name)
async def test_a_delay_queue_returns_its_message_to_its_lane_in_time_with_the_relays_headers(
    vhost: VirtualHost, lane: Lane
) -> None:
    headers = {
        "omni-attempt": 1,
        "omni-first-seen": 1_750_000_000_000,
        "omni-ambiguous": False,
        "omni-original-exchange": "omni.requests",
        "tenant": "acme",
    }
    async with opened(vhost.url, consume=True) as client:
        started = time.monotonic()
        await client.connection.publish([retry("back", lane.delay_queue(0.2), headers=headers, correlation_id="c")])
        await client.until(lambda received: names(received) == {"back"})
        assert time.monotonic() - started >= 0.2

    back = client.received[0]
    assert {name: value for name, value in back.headers.items() if not name.startswith("x-")} == headers
    assert (back.correlation_id, back.routing_key) == ("c", lane.requests)
    assert back.lane is lane


async def test_the_second_url_is_used_when_the_first_does_not_answer_and_no_password_is_reported(
    vhost: VirtualHost, unused_tcp_port: int
) -> None:
    dead = f"amqp://guest:canary@127.0.0.1:{unused_tcp_port}/"
    async with opened(dead, vhost.url) as client:
        assert [address for address, _ in client.log.refused] == [f"127.0.0.1:{unused_tcp_port}"]
        assert client.log.connected == [f"127.0.0.1:{vhost.node.port}"]

    session = await connect((dead, vhost.url))
    await session.close()


async def test_a_connection_that_is_reset_once_it_is_accepted_is_a_refusal_like_others(
    vhost: VirtualHost,
) -> None:
    """A load balancer without a broker behind it does that. The causes of the library's error may form a circle."""

    def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    server = await asyncio.start_server(reset, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, opened(f"amqp://guest:guest@127.0.0.1:{port}/", vhost.url) as client:
        assert [connect_cause(error) for _, error in client.log.refused] == ["no_connection"]
        assert client.log.connected == [f"127.0.0.1:{vhost.node.port}"]


@pytest.mark.parametrize("lane", LANES, ids=lambda lane: lane.name)
async def test_a_queue_deleted_under_the_consumer_is_declared_again_and_consumed(
    vhost: VirtualHost, lane: Lane
) -> None:
    """The broker cancels the consumer, and everything else about the connection stays open."""
    async with opened(vhost.url, consume=True) as client:
        await client.connection.publish([retry("before", lane.requests)])
        await client.until(lambda received: names(received) == {"before"})
        async with channel_of(vhost.url) as channel:
            await channel.queue_delete(lane.requests)
        async with asyncio.timeout(SOON):
            while not client.log.disconnected:  # noqa: ASYNC110 - a list
                await asyncio.sleep(0.01)
        await asyncio.wait_for(client.connection.publish([retry("after", lane.requests)]), SOON)
        await client.until(lambda received: "after" in names(received))
        assert client.log.disconnected == ["consumer_cancelled"]


async def test_connections_closed_by_an_operator_are_opened_again(vhost: VirtualHost) -> None:
    async with opened(vhost.url, consume=True) as client:
        await client.connection.publish([retry("before")])
        await vhost.close_connections()
        await asyncio.wait_for(client.connection.publish([retry("after")]), SOON)
        await client.until(lambda received: names(received) == {"before", "after"})
        assert client.log.disconnected == ["closed_by_broker"]


async def test_everything_published_while_the_connection_is_cut_arrives_at_least_once(vhost: VirtualHost) -> None:
    expected = {f"m-{number}" for number in range(400)}
    async with Proxy(vhost.node.port) as proxy:
        through = vhost.url.replace(f":{vhost.node.port}/", f":{proxy.port}/")
        async with opened(through, consume=True) as client:
            publishing: list[asyncio.Task[None]] = []
            for start in range(0, 400, 100):
                session = await client.connection.session()
                proxy.hold_answers()  # what is published now is not confirmed before the cut
                publishing += [
                    asyncio.create_task(client.connection.publish([retry(name)]))
                    for name in sorted(expected)[start : start + 100]
                ]
                await asyncio.sleep(0.1)
                proxy.cut()
                proxy.release()
                await asyncio.wait_for(session.broken.wait(), SOON)
            await asyncio.wait_for(asyncio.gather(*publishing), 2 * SOON)
            await client.until(lambda received: names(received) == expected)
            assert set(client.log.disconnected) == {"connection_lost"}, client.log.disconnected
            assert len(client.log.disconnected) >= 3
            assert len(client.log.repeated) >= 100


@pytest.mark.long
async def test_a_broker_that_vanished_silently_is_noticed_by_missing_heartbeats(vhost: VirtualHost) -> None:
    async with Proxy(vhost.node.port) as proxy:
        through = vhost.url.replace(f":{vhost.node.port}/", f":{proxy.port}/") + "?heartbeat=1"
        async with opened(through, consume=True) as client:
            await client.connection.publish([retry("before")])
            proxy.half_open()
            await asyncio.wait_for(client.connection.publish([retry("after")]), SOON)
            await client.until(lambda received: names(received) == {"before", "after"})
            assert client.log.disconnected == ["broker_silent"]


async def test_a_session_that_is_over_is_never_returned(vhost: VirtualHost) -> None:
    async with opened(vhost.url) as client:
        over = await client.connection.session()
        over.broken.set()
        assert await asyncio.wait_for(client.connection.session(), SOON) is not over


async def test_unsettled_deliveries_are_delivered_again_after_the_connection_was_lost(vhost: VirtualHost) -> None:
    async with Proxy(vhost.node.port) as proxy:
        through = vhost.url.replace(f":{vhost.node.port}/", f":{proxy.port}/")
        async with opened(through) as client:
            consuming = asyncio.create_task(client.consume(ack=False))
            await client.connection.publish([retry("unsettled")])
            await client.until(lambda received: len(received) == 1)
            proxy.cut()
            await client.until(lambda received: len(received) == 2)
            consuming.cancel()
    assert [delivery.redelivered for delivery in client.received] == [False, True]


async def test_large_bodies_are_sent_and_received_in_several_frames(vhost: VirtualHost) -> None:
    bodies = {f"m-{size}": b"x" * size for size in (0, 1, 131_063, 131_064, 131_065, 1_000_000)}
    async with opened(vhost.url, consume=True) as client:
        dead_letters = [replace(retry(name), body=body) for name, body in bodies.items()]
        await asyncio.wait_for(client.connection.publish(dead_letters), SOON)
        await client.until(lambda received: len(received) == len(bodies))
    assert {delivery.message_id: delivery.body for delivery in client.received} == bodies


async def test_each_of_many_publications_gets_its_own_result(vhost: VirtualHost) -> None:
    """On the fast path also publications that are equal or share a message id; the library confuses those."""
    async with opened(vhost.url) as client, channel_of(vhost.url) as channel:
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(topology.RESULTS, "message.accepted")
        other = "" if FAST.get() else "unwanted-"
        wanted = [event(f"e-{number}") for number in range(50)]
        unwanted = [replace(one, message_id=other + one.message_id, routing_key="nobody.wants") for one in wanted]
        mixed = [one for pair in zip(wanted, unwanted, strict=True) for one in pair]
        times = 3 if FAST.get() else 1
        await asyncio.wait_for(asyncio.gather(*(client.connection.publish(mixed) for _ in range(times))), SOON)
        found = (await channel.declare_queue(queue.name, passive=True)).declaration_result.message_count
        assert client.log.repeated == []
        assert Counter(one.message_id for one in client.log.unroutable) == {one.message_id: times for one in unwanted}
        assert all(one.routing_key == "nobody.wants" for one in client.log.unroutable)
        assert found == 50 * times


async def test_a_publication_refused_by_a_full_queue_is_repeated_until_there_is_room(vhost: VirtualHost) -> None:
    async with opened(vhost.url) as client, channel_of(vhost.url) as channel:
        arguments: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
        small = await channel.declare_queue("small", exclusive=True, arguments=arguments)
        await asyncio.wait_for(client.connection.publish([retry("first", "small")]), SOON)
        publishing = asyncio.create_task(client.connection.publish([retry("second", "small"), retry("other")]))
        await asyncio.sleep(1)
        assert not publishing.done()
        assert client.connection.oldest_publication > 0.9
        assert {type(error) for error in client.log.repeated} == {aiormq.exceptions.DeliveryError}
        await small.purge()
        await asyncio.wait_for(publishing, SOON)
        assert client.connection.oldest_publication == 0
        again = await small.get(timeout=SOON)
        assert again is not None
        assert again.headers["omni-republished"] is True


@pytest.mark.long
async def test_a_busy_connection_is_not_closed_as_silent(vhost: VirtualHost) -> None:
    """A broker sends no heartbeat while it sends other frames, and the library does not see the fast path's frames."""
    async with opened(vhost.url + "?heartbeat=1", consume=True) as client:
        until = time.monotonic() + 8  # three heartbeats are missed after six
        number = 0
        while time.monotonic() < until:
            await asyncio.wait_for(client.connection.publish([retry(f"m-{number}")]), SOON)
            number += 1
            await asyncio.sleep(0.05)
        await client.until(lambda received: len(received) == number)
        assert (len(client.log.connected), client.log.disconnected) == (1, [])


async def test_acks_before_an_orderly_close_reach_the_broker(vhost: VirtualHost) -> None:
    expected = {f"m-{number}" for number in range(200)}
    async with opened(vhost.url, consume=True) as client:
        await asyncio.wait_for(client.connection.publish([retry(name) for name in sorted(expected)]), SOON)
        await client.until(lambda received: names(received) == expected)
    async with channel_of(vhost.url) as channel:
        left = await channel.declare_queue(topology.REQUESTS, passive=True)
        assert left.declaration_result.message_count == 0
    assert len(client.received) == len(expected)


async def test_a_tls_connection_publishes_and_consumes(vhost: VirtualHost, tmp_path: Path) -> None:
    files = certificate(tmp_path)
    async with forwarded(vhost.node.port, server_of(files)) as port:
        url = f"amqps://guest:guest@localhost:{port}/{vhost.name}?cafile="
        with pytest.raises(BrokerErrors):
            await connect((url.replace("cafile=", "no_verify_ssl=1"),))
        async with opened(f"{url}{files[0]}", consume=True) as client:
            await asyncio.wait_for(client.connection.publish([retry(f"m-{number}") for number in range(50)]), SOON)
            await client.until(lambda received: len(received) == 50)


async def test_the_rights_that_the_topology_operator_grants_are_sufficient_and_not_more(vhost: VirtualHost) -> None:
    manifests = Path(__file__).parents[2] / "deploy/kubernetes/components/rabbitmq-topology/user.yaml"
    (rights,) = (one for one in yaml.safe_load_all(manifests.read_text()) if one["kind"] == "Permission")
    given = {kind: rights["spec"]["permissions"][kind] for kind in ("configure", "write", "read")}
    async with opened(vhost.url):
        pass  # declares what the operator would
    manage(vhost.node, "PUT", f"users/{vhost.name}", password="least", tags="")
    try:
        manage(vhost.node, "PUT", f"permissions/{vhost.name}/{vhost.name}", **given)
        url = vhost.url.replace("guest:guest@", f"{vhost.name}:least@")
        async with opened(url, declare=False, consume=True) as client:
            dead = replace(retry("dead"), exchange=topology.DEAD, routing_key="")
            retries = retry("parked", NORMAL.delay_queue(0.2))
            await asyncio.wait_for(client.connection.publish([event("e"), retry("asked"), retries, dead]), SOON)
            await client.until(lambda received: names(received) == {"asked", "parked"})
            assert client.log.repeated == []
            async with channel_of(url) as channel:
                with pytest.raises(aiormq.exceptions.ChannelAccessRefused):
                    await channel.declare_queue("another")
    finally:
        manage(vhost.node, "DELETE", f"users/{vhost.name}")


async def test_a_dead_letter_published_before_the_queue_was_restored_may_be_lost(vhost: VirtualHost) -> None:
    """The queue of notifications has it, so it is confirmed. Another publication then restores `omni.dead`."""
    async with opened(vhost.url) as client, channel_of(vhost.url) as channel:
        session = await client.connection.session()
        assert not await client.connection.may_have_lost_dead_letters(session, time.monotonic())
        await channel.queue_delete(topology.DEAD)
        before = time.monotonic()
        await client.connection.restore(session)

        assert await client.connection.may_have_lost_dead_letters(session, before)
        assert not await client.connection.may_have_lost_dead_letters(session, time.monotonic())


async def test_a_dead_letter_published_while_the_queue_is_restored_may_be_lost(vhost: VirtualHost) -> None:
    """The queue is there before it is bound: a letter that is published in between is confirmed, and not in it."""
    async with opened(vhost.url) as client, channel_of(vhost.url) as channel:
        session = await client.connection.session()
        await channel.queue_delete(topology.DEAD)
        before, answers = time.monotonic(), []
        restoring = asyncio.create_task(client.connection.restore(session))
        while not restoring.done():
            answers.append(await client.connection.may_have_lost_dead_letters(session, before))

        assert set(answers) == {True}


# Properties as they are on the wire: the flags say which are there.
CONTENT_TYPE, HEADERS, DELIVERY_MODE, PRIORITY, CORRELATION_ID = 15, 13, 12, 11, 10
REPLY_TO, EXPIRATION, MESSAGE_ID, TIMESTAMP, TYPE, APP_ID = 9, 8, 7, 6, 5, 3


def properties(*fields: tuple[int, bytes]) -> bytes:
    flags = sum(1 << bit for bit, _ in fields)
    return struct.pack(">H", flags) + b"".join(value for _, value in sorted(fields, reverse=True))


def short(value: bytes) -> bytes:
    return bytes([len(value)]) + value


def long(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def table(*entries: bytes) -> bytes:
    return long(b"".join(short(b"h%d" % number) + entry for number, entry in enumerate(entries)))


def nested(depth: int) -> bytes:
    inside = b""
    for _ in range(depth):
        inside = short(b"n") + b"F" + long(inside)
    return long(inside)


EVERY_TYPE = table(
    b"t\x01",
    b"b\x80",
    b"B\xff",
    b"s\x80\x00",
    b"u\xff\xff",
    b"I\x80\x00\x00\x00",
    b"i\xff\xff\xff\xff",
    b"l" + struct.pack(">q", -(2**63)),
    b"f" + struct.pack(">f", 1.5),
    b"d" + struct.pack(">d", 1e300),
    b"D\x02" + struct.pack(">i", 314),
    b"S" + long("naïve".encode()),
    b"S" + long(b"\xff\xfe"),
    b"x" + long(b"\x00\xff"),
    b"A" + long(b"t\x01" + b"S" + long(b"in a list")),
    b"F" + table(b"V"),
    b"T" + struct.pack(">Q", 1_750_000_000),
    b"V",
)
HOSTILE = {
    "nothing at all": properties(),
    "delivery mode 0": properties((DELIVERY_MODE, b"\x00")),
    "delivery mode 3": properties((DELIVERY_MODE, b"\x03")),
    "priority 255": properties((PRIORITY, b"\xff")),
    "empty strings": properties(*((bit, b"\x00") for bit in (CONTENT_TYPE, CORRELATION_ID, REPLY_TO, MESSAGE_ID))),
    "expiration of 49 days": properties((EXPIRATION, short(b"4294967295"))),
    "headers of every type": properties((HEADERS, EVERY_TYPE)),
    "headers nested 50 deep": properties((HEADERS, nested(50))),
    "timestamp in year 2554": properties((TIMESTAMP, struct.pack(">Q", 18_446_744_073))),
}
POISONOUS = {
    "timestamp of all ones": properties((TIMESTAMP, b"\xff" * 8)),
    "timestamp in milliseconds": properties((TIMESTAMP, struct.pack(">Q", 1_750_000_000_000_000))),
    "timestamp of all ones in a header": properties((HEADERS, table(b"T" + b"\xff" * 8))),
    "headers nested 2000 deep": properties((HEADERS, nested(2000))),
    "message_id that is not UTF-8": properties((MESSAGE_ID, short(b"\xff\xfe"))),
    "correlation_id that is not UTF-8": properties((CORRELATION_ID, short(b"\xff\xfe"))),
    "content_type that is not UTF-8": properties((CONTENT_TYPE, short(b"\xff\xfe"))),
    "app_id that is not UTF-8": properties((APP_ID, short(b"\xff\xfe"))),
    "header name that is not UTF-8": properties((HEADERS, long(short(b"\xff") + b"V"))),
}


async def publish_raw(url: str, wire: bytes, body: bytes = b"{}") -> None:
    """Publish a message with these bytes as properties. No client library does; any producer can."""
    connection = await aiormq.connect(url)
    channel = await connection.channel(publisher_confirms=False)
    publish = pamqp.commands.Basic.Publish(exchange="", routing_key=topology.REQUESTS)
    header = struct.pack(">HHQ", 60, 0, len(body)) + wire
    payload = pamqp.frame.marshal(publish, channel.number)
    for kind, content in ((2, header), (3, body)):
        payload += struct.pack(">BHI", kind, channel.number, len(content)) + content + b"\xce"
    assert isinstance(channel, aiormq.Channel)
    await channel.write_queue.put(ChannelFrame(payload=payload, should_close=False))
    await channel.basic_qos(prefetch_count=1)  # answered after the publish was taken; raises if it was not
    await connection.close()


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_no_property_a_producer_can_set_stalls_the_consumer(vhost: VirtualHost, hostile: str) -> None:
    await check_consumer_survives(vhost, HOSTILE[hostile])


@pytest.mark.parametrize("hostile", POISONOUS)
async def test_no_property_the_library_cannot_read_stalls_the_consumer(vhost: VirtualHost, hostile: str) -> None:
    await check_consumer_survives(vhost, POISONOUS[hostile])


async def check_consumer_survives(vhost: VirtualHost, wire: bytes) -> None:
    async with opened(vhost.url, consume=True) as client:
        try:
            await publish_raw(vhost.url, wire)
        except aiormq.exceptions.ChannelPreconditionFailed:
            return  # newer brokers refuse to accept some of them
        await client.connection.publish([retry("good")])
        async with asyncio.timeout(SOON):
            while len(client.received) < 2 and not client.log.disconnected:  # noqa: ASYNC110  # two things to wait for
                await asyncio.sleep(0.01)
        assert client.log.disconnected == [], "the connection was lost over it"
        assert "good" in names(client.received)
