"""A worker behind a proxy with a password and a private authority, and what `check` says about each fault."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.e2e.stage import KEY, Stage
from tests.support.account import Account
from tests.support.broker import VirtualHost
from tests.support.connect_proxy import OPENED, ConnectProxy, connect_proxy
from tests.support.tls import certificate, forwarded, server_of

pytestmark = pytest.mark.once

PASSWORD = "canary-pass"
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True)
class Network:
    """A company's network."""

    proxy: ConnectProxy
    authority: str
    settings: dict[str, str]


@asynccontextmanager
async def network(stage: Stage, directory: Path) -> AsyncIterator[Network]:
    """OMNI has a certificate of a private authority, and is reached through a proxy with a password."""
    files = certificate(directory)
    omni = httpx.URL(stage.settings["RELAY_OMNI_BASE_URL"]).port or 0
    async with forwarded(omni, server_of(files)) as port, connect_proxy(password=f"us:{PASSWORD}") as proxy:
        settings = {
            "OMNI_BASE_URL": f"https://localhost:{port}",
            "OMNI_PROXY": f"http://us:{PASSWORD}@127.0.0.1:{proxy.port}",
            "CA_FILE": str(files[0]),
        }
        yield Network(proxy, str(files[0]), settings)


def requests(first: int, count: int) -> list[dict[str, object]]:
    return [
        {"requestId": f"r-{n}", "messageId": f"m-{n}", "phoneNumber": "41793026727", "text": f"Number {n}"}
        for n in range(first, first + count)
    ]


@pytest.mark.long
async def test_a_proxy_that_fails_for_six_seconds_makes_nothing_ambiguous(stage: Stage, tmp_path: Path) -> None:
    async with network(stage, tmp_path) as around:
        worker = await stage.worker(
            ready=True, program=None, **around.settings, OMNI_CONNECTION_LIFETIME="1", UNKNOWN_POLICY="park"
        )
        for second in range(12):
            around.proxy.answer = BAD_GATEWAY if 2 <= second < 8 else OPENED
            await stage.send(*requests(second * 20, 20))
            await asyncio.sleep(1)
        await stage.until_final_events(240, within=40)
        assert set(map(tuple, stage.final_events().values())) == {("accepted",)}
        assert set((await stage.posts()).values()) == {1}
        metrics = await worker.metrics()
        assert {value for name, value in metrics.items() if name.startswith("omni_relay_ambiguous_attempts_total")} == {
            0
        }
        assert metrics['omni_relay_attempt_failures_total{cause="proxy_refused"}'] > 0
        failed = await worker.until_line("omni.not_connected")
        assert failed["cause"] == "proxy_refused"
        assert failed["detail"].endswith("answers HTTP 502 to CONNECT")
        assert PASSWORD not in worker.text
        assert await worker.stop() == 0


async def test_the_usual_variables_name_the_proxy_and_a_wrong_password_uses_up_no_attempt(
    stage: Stage, tmp_path: Path
) -> None:
    account, files = Account({f"App {KEY}"}), certificate(tmp_path, "omni.invalid")
    async with account.serving() as url, connect_proxy(password="us:another") as proxy:
        proxy.hosts["omni.invalid"] = "127.0.0.1"
        stage.settings["HTTPS_PROXY"] = f"http://us:{PASSWORD}@127.0.0.1:{proxy.port}"
        async with forwarded(httpx.URL(url).port or 0, server_of(files)) as port:
            worker = await stage.worker(
                OMNI_BASE_URL=f"https://omni.invalid:{port}", CA_FILE=str(files[0]), RETRY_MAX_ATTEMPTS="1"
            )
            await stage.send(*requests(0, 3))
            await worker.until_metric('omni_relay_paused{reason="denied"}', 1)
            assert (await worker.until_line("omni.not_connected"))["cause"] == "proxy_http_407"
            proxy.password = f"us:{PASSWORD}"
            await stage.until_final_events(3, within=45)
            assert set(map(tuple, stage.final_events().values())) == {("accepted",)}
            assert PASSWORD not in worker.text


async def lines(stage: Stage, **settings: str) -> dict[str, str]:
    """Run `check`; return its faults by subject."""
    checked = await stage.command("check", stdin=None, **settings)
    assert "Traceback" not in checked.errors
    assert PASSWORD not in checked.output + checked.errors
    assert KEY not in checked.output + checked.errors
    faults = [line.split(None, 2) for line in checked.output.splitlines() if line.startswith("FAULT")]
    assert checked.status == int(bool(faults))
    return {subject: text for _, subject, text in faults}


def no_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


async def test_check_names_each_fault_of_the_way_to_omni_in_one_line(stage: Stage, tmp_path: Path) -> None:
    async with network(stage, tmp_path) as around:
        good = {**around.settings, "RABBITMQ_DECLARE": "true"}
        topology = set(await lines(stage, **good))
        assert topology <= {"topology"}  # no worker has declared it

        async def fault(**settings: str) -> str:
            found = await lines(stage, **{**good, **settings})
            assert set(found) == topology | {"OMNI"}
            return found["OMNI"]

        proxy = around.proxy
        assert (await fault(OMNI_API_KEY="wrong")).startswith("refuses the credentials (401)")
        untrusted = await fault(CA_FILE="")
        assert untrusted.startswith("the certificate is not trusted; RELAY_CA_FILE adds an authority: localhost:")
        assert untrusted.endswith("self-signed certificate; issuer: CN=localhost")
        url = f"http://us:wrong@127.0.0.1:{proxy.port}"
        assert (await fault(OMNI_PROXY=url)).startswith("the proxy refuses its user and password (407)")
        assert (await fault(OMNI_PROXY=f"http://127.0.0.1:{no_port()}")).startswith("no connection to the proxy")
        nowhere = f"https://localhost:{no_port()}"
        assert (await fault(OMNI_PROXY="none", OMNI_BASE_URL=nowhere)).startswith(
            "no connection; see RELAY_OMNI_BASE_URL"
        )
        plain = around.settings["OMNI_BASE_URL"].replace("https", "http")
        assert (await fault(OMNI_BASE_URL=plain)).startswith("no answer")
        proxy.answer = BAD_GATEWAY
        assert (await fault()).startswith("the proxy opens no tunnel")
        proxy.answer = b""
        assert (await fault(OMNI_CONNECT_TIMEOUT="0.5")).startswith("no connection in time")


async def test_check_names_each_fault_of_the_way_to_the_broker_in_one_line(
    stage: Stage, vhost: VirtualHost, tmp_path: Path
) -> None:
    files = certificate(tmp_path)

    async def fault(url: str) -> str:
        found = await lines(stage, RABBITMQ_URL=url)
        assert set(found) == {"broker"}
        return found["broker"]

    host = f"127.0.0.1:{vhost.node.port}"
    assert (await fault(f"amqp://guest:{PASSWORD}@{host}/{vhost.name}")).startswith("refuses user and password")
    assert (await fault(f"amqp://guest:guest@{host}/none")).startswith("refuses the virtual host")
    assert (await fault(f"amqp://guest:guest@{host}/{vhost.name}?auth=external")).startswith("does not offer")
    assert (await fault(f"amqp://127.0.0.1:{no_port()}/")).startswith("no connection")
    assert (await fault("amqp://broker.invalid/")).startswith("no connection")
    async with forwarded(vhost.node.port, server_of(files)) as port:
        untrusted = await fault(f"amqps://guest:guest@localhost:{port}/{vhost.name}")
        assert untrusted.startswith("the certificate is not trusted; RELAY_CA_FILE adds an authority: ")
        assert untrusted.endswith("issuer: CN=localhost")
