"""The operations port, over a socket."""

import asyncio
import contextlib
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from service.adapters.metrics import OUTCOMES, Metrics
from service.adapters.operations import Condition, make_app, max_connections, raise_descriptor_limit, serving

Ask = Callable[[str], "httpx.Response"]


class Relay:
    """The state that the port reports."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.condition = Condition(ready=True)
        self.live = True


@pytest.fixture
def relay() -> Relay:
    return Relay()


@pytest.fixture
async def port(relay: Relay) -> AsyncIterator[httpx.AsyncClient]:
    app = make_app(relay.metrics.registry, lambda: relay.condition, lambda: relay.live)
    async with (
        serving(app, "127.0.0.1", 0) as number,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{number}",
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # loads no certificates: the URL is plain HTTP
            transport=httpx.AsyncHTTPTransport(retries=3),  # it listens a moment after its port is known
        ) as client,
    ):
        yield client


async def test_liveness_does_not_depend_on_readiness(relay: Relay, port: httpx.AsyncClient) -> None:
    relay.condition = Condition(ready=False, reason="not connected to RabbitMQ")
    answer = await port.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"live": True})


async def test_liveness_fails_when_only_a_restart_would_help(relay: Relay, port: httpx.AsyncClient) -> None:
    relay.live = False
    answer = await port.get("/livez")
    assert (answer.status_code, answer.json()) == (503, {"live": False})


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (Condition(ready=True), 200),
        (Condition(ready=False, reason="not connected to RabbitMQ"), 503),
        (Condition(ready=False, reason="stopping"), 503),
        (Condition(ready=True, reason="http_401", paused=True), 200),
    ],
    ids=["ready", "not connected", "stopping", "paused"],
)
async def test_readiness_states_the_reason(
    relay: Relay, port: httpx.AsyncClient, condition: Condition, status: int
) -> None:
    """A pause keeps it ready: starting it anew would mend nothing, and the next one would only pause too."""
    relay.condition = condition
    answer = await port.get("/readyz")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"ready": condition.ready, "reason": condition.reason, "paused": condition.paused}


async def test_metrics_are_served_in_the_prometheus_format_and_as_openmetrics(
    relay: Relay, port: httpx.AsyncClient
) -> None:
    relay.metrics.attempts["accepted"].inc(3)
    plain = await port.get("/metrics")
    openmetrics = await port.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})

    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text; version=")
    assert openmetrics.text.endswith("# EOF\n")
    for families in (list(read_prometheus(plain.text)), list(read_openmetrics(openmetrics.text))):  # type: ignore[no-untyped-call]  # it has no types
        samples = [sample for family in families for sample in family.samples]
        made = {
            sample.labels["outcome"]: sample.value for sample in samples if sample.name == "omni_relay_attempts_total"
        }
        assert made == dict.fromkeys(OUTCOMES, 0.0) | {"accepted": 3.0}
        ours = [family for family in families if family.name.startswith("omni_relay_")]
        assert len(ours) > 15
        assert all(family.documentation.endswith(".") for family in ours)


@pytest.mark.parametrize(
    ("accept", "is_openmetrics"),
    [
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3", True),
        ("text/html, application/openmetrics-text; version=0.0.1", True),
        ("application/openmetrics-text; version=abc", False),
        ("application/openmetrics-text; version=1.0.0.0.x", False),
        ("application/openmetrics-text; version=99\u00b2.0.0", False),
        ("application/openmetrics-text; version=", False),
        ("text/plain; version=x.y", False),
        (";;;,=,", False),
        ("", False),
    ],
)
async def test_no_accept_header_makes_the_metrics_fail(
    port: httpx.AsyncClient, accept: str, *, is_openmetrics: bool
) -> None:
    answer = await port.get("/metrics", headers={b"accept": accept.encode()})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/openmetrics-text") is is_openmetrics
    assert "abc" not in answer.headers["content-type"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("GET", "/livez/", 404), ("POST", "/metrics", 405)]
)
async def test_any_other_path_is_not_found(port: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    assert (await port.request(method, path)).status_code == status


async def test_a_port_in_use_is_an_error_at_once(relay: Relay) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        async with serving(
            make_app(relay.metrics.registry, lambda: relay.condition, lambda: relay.live), *taken.getsockname()
        ):
            pass


async def test_the_port_accepts_connections_once_it_is_known(relay: Relay) -> None:
    async with serving(
        make_app(relay.metrics.registry, lambda: relay.condition, lambda: relay.live), "127.0.0.1", 0
    ) as number:
        with socket.create_connection(("127.0.0.1", number), timeout=1):
            pass


def is_open(connection: socket.socket) -> bool:
    """Return whether the other end has left a connection open."""
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


@contextlib.asynccontextmanager
async def connections(port: httpx.AsyncClient, count: int) -> AsyncIterator[list[socket.socket]]:
    """Open connections on which nothing is sent."""
    loop, address = asyncio.get_running_loop(), (port.base_url.host, port.base_url.port)
    with contextlib.ExitStack() as life:
        opened = [life.enter_context(socket.socket()) for _ in range(count)]
        for connection in opened:
            connection.setblocking(False)  # noqa: FBT003 - as it is called
            await loop.sock_connect(connection, address)
        yield opened


async def until(condition: Callable[[], bool], within: float) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - a server
            await asyncio.sleep(0.02)


async def answer_on(connection: socket.socket) -> bytes:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(BlockingIOError):
                return connection.recv(1000)
            await asyncio.sleep(0.02)


async def test_idle_connections_take_a_bounded_number_of_descriptors_and_block_no_probe(
    port: httpx.AsyncClient,
) -> None:
    for _ in range(5):
        async with connections(port, 60) as idle:
            assert (await port.get("/livez")).status_code == 200
            await until(lambda: sum(map(is_open, idle)) <= max_connections(), within=20)
            assert (await port.get("/readyz")).status_code == 200


async def test_a_connection_that_is_silent_or_never_ends_its_header_section_is_closed(port: httpx.AsyncClient) -> None:
    async with connections(port, 2) as (silent, endless):
        endless.send(b"GET /livez HTTP/1.1\r\n")
        for _ in range(3):
            await asyncio.sleep(0.5)
            endless.send(b"a: b\r\n")
        assert all(map(is_open, (silent, endless)))
        await until(lambda: not is_open(silent) and not is_open(endless), within=20)


async def test_an_endless_header_section_is_refused_before_it_takes_memory(port: httpx.AsyncClient) -> None:
    async with connections(port, 1) as (endless,):
        endless.send(b"GET /livez HTTP/1.1\r\nx: " + b"y" * 40_000)
        answer = await answer_on(endless)
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_connection_that_is_in_use_stays_open(port: httpx.AsyncClient) -> None:
    """One that asks more often than the limit of idleness is never closed."""
    async with connections(port, 1) as (used,):
        for _ in range(7):
            used.send(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n")
            await asyncio.sleep(1)
            assert (await answer_on(used)).startswith(b"HTTP/1.1 200 ")


def test_the_port_uses_a_limited_share_of_the_descriptors() -> None:
    raise_descriptor_limit()
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert now == most
    assert 1 <= max_connections() <= now // 8
