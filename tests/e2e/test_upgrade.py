"""A broker that a worker of an earlier version has used: this version serves what waits there, and changes no queue.

`tests/golden/waiting` holds, for each released version, the topology that it declared, and a retry, an ambiguous retry
and an urgent dead letter as it published them. A recording is never changed: a new version gets one of its own.
"""

import json
import time
from typing import Any, Final

import aio_pika
import pytest

from tests.e2e.stage import Stage
from tests.support.documents import ROOT

RECORDINGS: Final = sorted((ROOT / "tests/golden/waiting").glob("*.json"))


async def restore(stage: Stage, recorded: dict[str, Any]) -> None:
    """Declare what the version had declared, and publish what it left."""
    async with stage.channel() as channel:
        for name, type_ in recorded["exchanges"].items():
            await channel.declare_exchange(name, type_, durable=True)
        queues = {
            name: await channel.declare_queue(name, durable=True, arguments=arguments)
            for name, arguments in recorded["queues"].items()
        }
        for exchange, key, queue in recorded["bindings"]:
            await queues[queue].bind(exchange, key)
        relay = await channel.get_exchange("omni.relay")  # which delay queues return their messages to
        for message in recorded["messages"]:
            # A retry that was first seen months ago would be too old.
            headers = {**message.pop("headers"), "omni-first-seen": round(time.time() * 1000)}
            body, queue = json.dumps(message.pop("body")).encode(), message.pop("queue")
            published = aio_pika.Message(body, headers=headers, delivery_mode=2, **message)
            await relay.publish(published, queue)


@pytest.mark.parametrize("recording", [one.read_text() for one in RECORDINGS], ids=[one.stem for one in RECORDINGS])
async def test_what_an_earlier_version_left_is_served(stage: Stage, recording: str) -> None:
    await restore(stage, json.loads(recording))
    # The delays are those of the recording.
    worker = await stage.worker(UNKNOWN_LOG_CHECKS="1", RETRY_BASE_DELAY="4", RETRY_MAX_DELAY="4")
    await stage.until_final_events(2)
    assert stage.final_events() == {"retried": ["accepted"], "ambiguous": ["accepted"]}
    assert stage.about("retried")[0].data["metadata"] == {"shop": "7"}
    await worker.until_metric('omni_relay_log_lookups_total{result="answered"}', 1)  # for the ambiguous one

    listed = (await stage.command("dead", "list", "--json")).output
    assert '"failed"' in listed
    replayed = await stage.command("dead", "replay", "--reason", "failed")
    assert replayed.status == 0, replayed.errors
    await stage.until_final_events(3)
    assert stage.about("failed")[-1].type == "accepted"
    assert await stage.posts() == {"retried": 1, "ambiguous": 1, "failed": 1}
    assert not [line for line in worker.lines() if line["level"] in {"warning", "error", "critical"}]
