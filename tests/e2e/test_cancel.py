"""`omni-relay cancel`, and requests that the relay holds until their `sendAt`."""

from typing import Any

from tests.e2e.stage import Stage
from tests.support.memory import MemoryServer

NUMBER = "41793026727"


def requests(name: str, count: int, **fields: object) -> list[dict[str, object]]:
    names = [f"{name}-{number}" for number in range(count)]
    return [{"requestId": n, "messageId": n, "phoneNumber": NUMBER, "text": name, **fields} for n in names]


def kinds(stage: Stage, name: str) -> dict[str, int]:
    """Count the messages of a name by the type of their final event; each has one."""
    ids = stage.final_ids()
    assert all(len(one) == 1 for one in ids.values()), ids
    found: dict[str, int] = {}
    for subject, types in stage.final_events().items():
        if subject.startswith(f"{name}-"):
            found[types[0]] = found.get(types[0], 0) + 1
    return found


async def test_a_campaign_is_cancelled_in_the_queue_in_a_batch_and_in_a_delay_queue_and_nothing_else_is(
    stage: Stage, memory: MemoryServer
) -> None:
    settings: dict[str, Any] = {
        "MEMORY_URL": memory.url,
        "RETRY_BASE_DELAY": "2",
        "RETRY_MAX_DELAY": "2",
        "OMNI_MESSAGES_PER_SECOND": "20",
        "RABBITMQ_PREFETCH": "40",
    }
    worker = await stage.worker(**settings)
    await stage.fault(kind="status", status=503, times=1)
    await stage.send(*requests("delayed", 1, metadata={"campaign": "a=b", "tenant": "acme"}))
    await stage.until(lambda: "delayed-0" in stage.event_types())
    await stage.send(*requests("campaign", 300, metadata={"campaign": "a=b", "tenant": "acme"}))
    await stage.send(*requests("other", 10, metadata={"campaign": "a=b", "tenant": "other"}))
    ended = await stage.command("cancel", "--metadata", "campaign=a=b", "--metadata", "tenant=acme", **settings)
    assert (ended.status, ended.output) == (
        0,
        "given: 1; 1 order is in force. Workers apply it within two seconds\n",
    ), ended.errors
    await worker.until_metric("omni_relay_cancel_orders", 1)
    await stage.until_final_events(311)
    posted = await stage.posts()

    assert kinds(stage, "other") == {"accepted": 10}
    assert kinds(stage, "delayed") == {"cancelled": 1}
    found = kinds(stage, "campaign")
    assert found["cancelled"] + found["accepted"] == 300
    assert found["cancelled"] >= 200
    assert sum(name.startswith("campaign-") for name in posted) == found["accepted"]
    assert posted["delayed-0"] == 1

    ended = await stage.command(
        "cancel", "--undo", "--metadata", "tenant=acme", "--metadata", "campaign=a=b", **settings
    )
    assert (ended.status, ended.output) == (0, "undone: 1; 0 orders are in force\n")
    await worker.until_metric("omni_relay_cancel_orders", 0)
    await stage.send(*requests("again", 1, metadata={"campaign": "a=b", "tenant": "acme"}))
    await stage.until_final_events(312)
    assert kinds(stage, "again") == {"accepted": 1}
