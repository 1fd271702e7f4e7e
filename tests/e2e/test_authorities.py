"""Certificates are verified, of the broker and of OMNI; RELAY_CA_FILE adds an authority."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.stage import Stage
from tests.support.broker import VirtualHost
from tests.support.tls import certificate, forwarded, server_of

pytestmark = pytest.mark.once


@asynccontextmanager
async def over_tls(stage: Stage, vhost: VirtualHost, files: tuple[Path, Path]) -> AsyncIterator[dict[str, str]]:
    """Return settings with TLS to the broker and to OMNI."""
    omni = httpx.URL(stage.settings["RELAY_OMNI_BASE_URL"]).port or 0
    async with (
        forwarded(vhost.node.port, server_of(files)) as amqps,
        forwarded(omni, server_of(files)) as https,
    ):
        broker = f"amqps://guest:guest@localhost:{amqps}/{vhost.name}"
        yield {"RABBITMQ_URL": broker, "OMNI_BASE_URL": f"https://localhost:{https}"}


async def test_an_additional_authority_is_trusted_for_broker_and_omni(
    stage: Stage, vhost: VirtualHost, tmp_path: Path
) -> None:
    files = certificate(tmp_path)
    async with over_tls(stage, vhost, files) as settings:
        stage.settings |= {f"RELAY_{name}": value for name, value in settings.items()}
        worker = await stage.worker(CA_FILE=str(files[0]))
        await stage.send({"requestId": "r", "messageId": "m", "phoneNumber": "41793026727", "text": "Hello"})
        await stage.until_final_events(1)
        checked = await stage.command("check", CA_FILE=str(files[0]))
        assert await worker.stop() == 0
    assert stage.final_events() == {"m": ["accepted"]}
    assert (checked.status, "FAULT" in checked.output) == (0, False), checked.output


async def test_a_certificate_that_is_not_trusted_uses_up_no_attempt_and_makes_nothing_ambiguous(
    stage: Stage, vhost: VirtualHost, tmp_path: Path
) -> None:
    files = certificate(tmp_path)
    (tmp_path / "more").mkdir()
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes(certificate(tmp_path / "more", "another")[0].read_bytes())
    async with over_tls(stage, vhost, files) as settings:
        base_url = settings["OMNI_BASE_URL"]
        worker = await stage.worker(OMNI_BASE_URL=base_url, CA_FILE=str(authorities), RETRY_MAX_ATTEMPTS="1")
        await stage.send(
            *({"requestId": f"r{n}", "phoneNumber": "41793026727", "text": f"Hello {n}"} for n in range(6))
        )
        await worker.until_line("sending.paused")
        metrics = await worker.metrics()
        (tmp_path / "new.pem").write_bytes(files[0].read_bytes())
        (tmp_path / "new.pem").replace(authorities)
        await stage.until_final_events(6)
        assert await worker.stop() == 0
    assert set(map(tuple, stage.event_types().values())) == {("accepted",)}
    assert {line["outcome"] for line in worker.lines("attempt.made")} == {"unavailable", "accepted"}
    assert worker.lines("omni.not_connected")[0]["cause"] == "untrusted_certificate"
    assert metrics['omni_relay_attempt_failures_total{cause="untrusted_certificate"}'] >= 5
    assert {line["changed"][0] for line in worker.lines("secrets.reloaded")} == {"RELAY_CA_FILE"}


@pytest.mark.parametrize("trusted", ["nobody", "another", "name"])
async def test_a_certificate_that_is_not_trusted_is_refused(
    stage: Stage, vhost: VirtualHost, tmp_path: Path, trusted: str
) -> None:
    """Neither is one that names another host."""
    files = certificate(tmp_path, "elsewhere" if trusted == "name" else "localhost")
    (tmp_path / "more").mkdir()
    another = certificate(tmp_path / "more", "another")
    authority = {"nobody": "", "another": str(another[0]), "name": str(files[0])}[trusted]
    async with over_tls(stage, vhost, files) as settings:
        stage.settings |= {f"RELAY_{name}": value for name, value in settings.items()}
        checked = await stage.command("check", CA_FILE=authority)
    assert checked.status == 1
    faults = [line.split()[1] for line in checked.output.splitlines() if line.startswith("FAULT")]
    assert faults == ["broker", "OMNI"]
    assert "Traceback" not in checked.errors
