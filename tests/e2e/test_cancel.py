"""`omni-relay cancel`, and requests that the relay holds until their `sendAt`."""

import asyncio
from datetime import UTC, datetime, timedelta
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


async def test_a_campaign_is_cancelled_wherever_it_waits_and_nothing_else_is(
    stage: Stage, memory: MemoryServer
) -> None:
    settings: dict[str, Any] = {
        "MEMORY_URL": memory.url,
        "RETRY_BASE_DELAY": "0.5",
        "RETRY_MAX_DELAY": "4",
        "OMNI_MESSAGES_PER_SECOND": "20",
        "HOLD_SCHEDULED": "true",
    }
    named = ("--metadata", "campaign=a=b", "--metadata", "tenant=acme")
    campaign: dict[str, object] = {"metadata": {"campaign": "a=b", "tenant": "acme"}}
    worker, ended = await asyncio.gather(stage.worker(**settings), stage.command("cancel", *named))
    assert (ended.status, ended.output) == (78, "")
    assert "RELAY_MEMORY_URL: " in ended.errors
    await stage.fault(kind="status", status=503, retryAfter=2, times=1)
    await stage.send(*requests("delayed", 1, **campaign))
    await stage.until(lambda: "delayed-0" in stage.event_types())
    due = datetime.now(UTC) + timedelta(seconds=2)
    await stage.send(
        *requests("held", 2, sendAt=(due + timedelta(days=30)).isoformat(), **campaign),
        *requests("due", 1, sendAt=due.isoformat()),
    )
    await stage.send(*requests("campaign", 100, **campaign))
    await stage.send(*requests("other", 10, metadata={"campaign": "a=b", "tenant": "other"}))
    ended = await stage.command("cancel", *named, **settings)
    given = "given: 1; 1 order is in force. Workers apply it within two seconds\n"
    assert (ended.status, ended.output) == (0, given), ended.errors
    await worker.until_metric("omni_relay_cancel_orders", 1, within=2)
    await stage.send(*requests("later", 1, sendAt=(due + timedelta(days=30)).isoformat(), **campaign))
    await stage.until_final_events(113)
    posted = await stage.posts()

    assert kinds(stage, "other") == {"accepted": 10}
    assert kinds(stage, "delayed") == kinds(stage, "later") == {"cancelled": 1}
    assert kinds(stage, "held") == {}  # each is in a delay queue for an hour
    assert await stage.waiting("omni.requests.delay.3600") == 2
    found = kinds(stage, "campaign")
    assert found["cancelled"] + found.get("accepted", 0) == 100
    assert found["cancelled"] >= 20
    assert sum(name.startswith("campaign-") for name in posted) == found.get("accepted", 0)
    assert (posted["delayed-0"], posted["held-0"], posted["due-0"]) == (1, 0, 1)
    (call,) = [one for one in await stage.calls() if "due-0" in str(one["body"])]
    assert "sendAt" not in call["body"]
    (event,) = stage.about("due-0")
    late = (datetime.fromisoformat(event.body["time"]) - due).total_seconds()
    assert late >= 0  # calls pause meanwhile
    assert NUMBER not in str(await memory.ask("GET", "omni-relay:cancel"))

    ended = await stage.command("cancel", "--undo", *named, **settings)
    assert (ended.status, ended.output) == (0, "undone: 1; 0 orders are in force\n")
    await worker.until_metric("omni_relay_cancel_orders", 0, within=2)
    await stage.send(*requests("again", 1, **campaign))
    await stage.until_final_events(114)
    assert kinds(stage, "again") == {"accepted": 1}
