"""RabbitMQ over TLS with client certificates (EXTERNAL), rotated while messages are sent; and several addresses."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from service.demo.rabbitmq.ports import free_port
from tests.e2e.stage import Stage, staged
from tests.e2e.test_rotation import requests, send_steadily
from tests.support.node import Node
from tests.support.tls import certificate, signed_certificate

TLS = """\
listeners.ssl.default = 127.0.0.1:{port}
ssl_options.cacertfile = $DIRECTORY/authority.pem
ssl_options.certfile = $DIRECTORY/localhost.pem
ssl_options.keyfile = $DIRECTORY/localhost.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
ssl_cert_login_from = common_name
auth_mechanisms.1 = EXTERNAL
auth_mechanisms.2 = PLAIN
load_definitions = $DIRECTORY/definitions.json
"""
USERS = ("old-relay", "new-relay")
DEFINITIONS = {
    "vhosts": [{"name": "/"}],
    "users": [
        {"name": "guest", "password": "guest", "tags": ""},
        *({"name": name, "password_hash": "", "tags": ""} for name in USERS),  # each has no password
    ],
    "permissions": [
        {"user": name, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"} for name in ("guest", *USERS)
    ],
}


@dataclass(frozen=True)
class SecureBroker:
    """A node that knows its users by their certificates."""

    node: Node
    port: int
    authority: tuple[Path, Path]

    def url(self, folder: Path) -> str:
        """Return the URL of a client whose certificate and key lie in a folder."""
        files = f"cafile={self.authority[0]}&certfile={folder}/tls.crt&keyfile={folder}/tls.key"
        return f"amqps://localhost:{self.port}/?{files}&auth=external"

    def give_certificate(self, name: str, folder: Path) -> None:
        """Put a certificate of that name into a folder, in place of another."""
        folder.mkdir(exist_ok=True)
        files = signed_certificate(self.authority[0].parent, name, self.authority)
        for source, target in zip(files, ("tls.crt", "tls.key"), strict=True):
            shutil.copy(source, folder / f"{target}.new")
        for target in ("tls.key", "tls.crt"):
            (folder / f"{target}.new").replace(folder / target)


@asynccontextmanager
async def secure_broker(directory: Path, root: Path | None) -> AsyncIterator[SecureBroker]:
    home, port = directory / "broker", free_port()
    home.mkdir()
    authority = certificate(home, "authority")
    signed_certificate(home, "localhost", authority)
    (home / "definitions.json").write_text(json.dumps(DEFINITIONS))
    node = Node(home, root=root, plugins=("rabbitmq_auth_mechanism_ssl",), configuration=TLS.format(port=port))
    async with node:
        yield SecureBroker(node, port, authority)


@pytest.mark.long
@pytest.mark.timeout(150)
async def test_a_client_certificate_is_rotated_while_messages_are_sent(
    tmp_path: Path, rabbitmq_root: Path | None
) -> None:
    async with secure_broker(tmp_path, rabbitmq_root) as broker, staged(broker.node.url, tmp_path / "stage") as stage:
        tls = tmp_path / "tls"
        broker.give_certificate("old-relay", tls)
        worker = await stage.worker(RABBITMQ_URL=broker.url(tls), RETRY_MAX_ATTEMPTS="1")
        sending = asyncio.create_task(send_steadily(stage, 3))
        await asyncio.sleep(1)
        await broker.node.evaluate('rabbit_auth_backend_internal:delete_user(<<"old-relay">>, <<"a test">>)')
        await worker.until_line("broker.refused")
        broker.give_certificate("new-relay", tls)
        await worker.until(lambda: len(worker.lines("broker.connected")) > 1, within=10)
        count = await sending
        await stage.until_final_events(count, within=45)
        assert {type_ for types in stage.final_events().values() for type_ in types} == {"accepted"}
        assert {len(ids) for ids in stage.final_ids().values()} == {1}  # one that was not confirmed is published again
        posts = await stage.posts()
        assert (len(posts), set(posts.values())) == (count, {1})
        assert "new-relay\tEXTERNAL" in await broker.node.ctl("list_connections", "user", "auth_mechanism")
        assert {line["cause"] for line in worker.lines("broker.refused")} == {"login_refused"}
        assert (await stage.command("check", RABBITMQ_URL=broker.url(tls))).status == 0
        assert await worker.stop() == 0


@pytest.mark.once
async def test_the_next_address_is_tried_at_once(stage: Stage) -> None:
    addresses = [f"amqp://127.0.0.1:{free_port()}/" for _ in range(8)]
    worker = await stage.worker(RABBITMQ_URL=",".join([*addresses, stage.url]))
    refused, connected = worker.lines("broker.refused"), worker.lines("broker.connected")
    assert len(refused) == 8
    assert _seconds(connected[0]["timestamp"]) - _seconds(refused[0]["timestamp"]) < 4  # less than a pause for each
    await stage.send(*requests(range(1)))
    await stage.until_final_events(1)
    assert await worker.stop() == 0


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
