"""Numbers, addresses, texts and keys go where they must, and nowhere else."""

import json

from tests.e2e.stage import KEY, Stage

TEXT, ADDRESS = "canary text", "canary@example.com"
NUMBERS = ("4915550001111", "4915550091503", "4915550091400", "4915550091200", "4915550091014", "4915550090104")
SECRETS = (KEY, TEXT, ADDRESS, "491555")


def bodies() -> list[dict[str, object]]:
    valid: list[dict[str, object]] = [
        {
            "requestId": f"r-{index}",
            "destinations": [{"to": {"phoneNumber": number, "emailAddress": ADDRESS}}],
            "text": TEXT,
        }
        for index, number in enumerate(NUMBERS)
    ]
    wrong: list[dict[str, object]] = [
        {**valid[0], "requestId": "unknown-field", TEXT: NUMBERS[0]},
        {**valid[0], "requestId": "no-number", "destinations": [{"to": {"phoneNumber": f"{NUMBERS[0]}x{TEXT}"}}]},
        {"requestId": "nobody", "text": TEXT, "metadata": {"address": 1}},
    ]
    return [*valid, *wrong]


async def test_no_secret_is_in_the_log_the_metrics_or_the_headers_of_dead_letters(stage: Stage) -> None:
    worker = await stage.worker(RETRY_MAX_ATTEMPTS="2", LOG_LEVEL="debug", UNKNOWN_POLICY="park")
    await stage.send(*bodies(), f"{TEXT} {NUMBERS[0]}".encode())
    await stage.until_last_words(10)

    words = {word for words in stage.last_words().values() for word in words}
    assert words == {"accepted", "failed", "rejected", "unknown"}
    metrics = (await worker.get("/metrics"))[1]
    letters = [await stage.take("omni.dead") for _ in range(await stage.waiting("omni.dead"))]
    assert letters
    assert await worker.stop() == 0
    told = {"log": worker.text, "metrics": metrics, "headers": json.dumps([str(letter.headers) for letter in letters])}
    assert [(where, secret) for where, text in told.items() for secret in SECRETS if secret in text] == []


async def test_an_event_that_nobody_takes_is_not_written_into_the_log(stage: Stage) -> None:
    """It comes back from the broker whole, twice over where reply_to names a queue that is gone."""
    worker = await stage.worker()
    async with stage.channel() as channel:
        await channel.queue_delete("results")
    await stage.send(*bodies()[:1] * 20, reply_to="no.such.queue")
    await worker.until(lambda: len(worker.lines("delivery.settled")) == 20)
    assert await worker.stop() == 0
    assert [secret for secret in SECRETS if secret in worker.text] == []
