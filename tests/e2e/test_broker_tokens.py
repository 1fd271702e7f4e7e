"""RabbitMQ with OAuth 2 access tokens: renewed on open connections, and what happens if there is none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.stage import Stage, staged
from tests.e2e.test_rotation import mounted, send_steadily
from tests.support.node import Node
from tests.support.token_server import CONFIGURATION, TokenServer, make_key

PLUGINS = ("rabbitmq_auth_backend_oauth2",)


@asynccontextmanager
async def token_broker(directory: Path, root: Path | None) -> AsyncIterator[tuple[Node, Stage, TokenServer]]:
    """Run a node that accepts tokens, and a stage whose settings name a server of them."""
    home = directory / "broker"
    home.mkdir()
    server = TokenServer(make_key(home))
    async with (
        Node(home, root=root, plugins=PLUGINS, configuration=CONFIGURATION) as node,
        staged(node.url, directory / "stage") as stage,
        server.serving() as url,
    ):
        secrets = mounted(
            directory / "secrets", RABBITMQ_OAUTH_CLIENT_ID="relay", RABBITMQ_OAUTH_CLIENT_SECRET="hush-canary"
        )
        stage.settings |= {
            "RELAY_RABBITMQ_URL": node.url.replace("guest:guest@", ""),
            "RELAY_RABBITMQ_OAUTH_TOKEN_URL": url,
            "RELAY_SECRETS_DIR": str(secrets),
            "RELAY_REPORTS_TOKEN": "0123456789abcdef",
            "RELAY_REPORTS_PORT": "0",
        }
        yield node, stage, server


async def broker_fault(stage: Stage) -> str:
    """Run `check`; return its line about the broker."""
    checked = await stage.command("check")
    assert "Traceback" not in checked.errors
    return next(line for line in checked.output.splitlines() if line.split()[1] == "broker")


@pytest.mark.long
async def test_tokens_are_renewed_on_open_connections_while_messages_are_sent(
    tmp_path: Path, rabbitmq_root: Path | None
) -> None:
    async with token_broker(tmp_path, rabbitmq_root) as (_, stage, server):
        worker, reports = await asyncio.gather(stage.worker(RETRY_MAX_ATTEMPTS="1"), stage.watching("reports"))
        sending = asyncio.create_task(send_steadily(stage, 5))
        await worker.until(lambda: len(server.issued) >= 4)
        server.is_away = True  # for less than the rest of a token's life
        await worker.until_line("broker.token_failed")
        server.is_away = False
        await worker.until_line("broker.token_fetched")
        server.clients["relay"].add("another")
        mounted(tmp_path / "secrets", RABBITMQ_OAUTH_CLIENT_ID="relay", RABBITMQ_OAUTH_CLIENT_SECRET="another")
        await worker.until_line("secrets.reloaded")
        server.clients["relay"].remove("hush-canary")
        issued = len(server.issued)
        await worker.until(lambda: len(server.issued) >= issued + 3)  # two of the worker, one of the other process
        count = await sending
        await stage.until_final_events(count)
        listed, shown = await asyncio.gather(stage.command("dead", "list"), stage.command("status"))
        assert listed.status == 0, listed.errors
        assert "NOT ASKED" not in shown.output
        assert set(map(tuple, stage.final_events().values())) == {("accepted",)}
        posts = await stage.posts()
        assert (len(posts), set(posts.values())) == (count, {1})
        metrics = await worker.metrics()
        assert metrics['omni_relay_broker_token_failures_total{cause="no_token"}'] > 0
        assert {line["cause"] for line in reports.lines("broker.token_failed")} <= {"no_token"}
        for process in (worker, reports):
            assert len(process.lines("broker.connected")) == 1
            assert process.lines("broker.disconnected") == []
        assert (await broker_fault(stage)).startswith("ok")
        server.rights = ""
        assert (await broker_fault(stage)).startswith("FAULT broker         ")
        server.is_away = True
        assert (await broker_fault(stage)).endswith("no_token: the token server answers HTTP 503 without a token")
        server.is_away, server.clients = False, {}
        assert (await broker_fault(stage)).endswith("client_refused: the token server answers HTTP 401")
        for log in (worker.text, reports.text):
            assert not any(token in log for token in server.issued)
            assert "canary" not in log
        assert await worker.stop() == 0
