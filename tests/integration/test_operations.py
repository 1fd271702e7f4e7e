"""The operations port, over a socket."""

import socket
import ssl
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from service.edges.metric import OUTCOMES, Metrics
from service.edges.operation import Condition, make_app, serving

Ask = Callable[[str], "httpx.Response"]


class Relay:
    """What the port is asked about."""

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
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # loads no certificates: this is plain HTTP
            transport=httpx.AsyncHTTPTransport(retries=3),  # it listens a moment after it has told its port
        ) as client,
    ):
        yield client


async def test_it_is_live_whatever_its_condition(relay: Relay, port: httpx.AsyncClient) -> None:
    relay.condition = Condition(ready=False, reason="not connected to RabbitMQ")
    answer = await port.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"live": True})


async def test_it_is_not_live_when_only_a_restart_would_help(relay: Relay, port: httpx.AsyncClient) -> None:
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
async def test_readiness_says_why(relay: Relay, port: httpx.AsyncClient, condition: Condition, status: int) -> None:
    """A pause keeps it ready: starting it anew would mend nothing, and the next one would only pause too."""
    relay.condition = condition
    answer = await port.get("/readyz")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"ready": condition.ready, "reason": condition.reason, "paused": condition.paused}


async def test_metrics_come_as_prometheus_has_them_and_as_openmetrics(relay: Relay, port: httpx.AsyncClient) -> None:
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


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 404), ("POST", "/metrics", 405)])
async def test_there_is_nothing_else(port: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    assert (await port.request(method, path)).status_code == status


async def test_a_taken_port_is_told_at_once(relay: Relay) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        async with serving(
            make_app(relay.metrics.registry, lambda: relay.condition, lambda: relay.live), *taken.getsockname()
        ):
            pass


async def test_it_listens_once_it_has_told_its_port(relay: Relay) -> None:
    async with serving(
        make_app(relay.metrics.registry, lambda: relay.condition, lambda: relay.live), "127.0.0.1", 0
    ) as number:
        with socket.create_connection(("127.0.0.1", number), timeout=1):
            pass
