"""Where the time goes: microseconds of CPU a message in each stage that neither broker nor network has a part in.

    .venv/bin/python -m tests.bench.stage

The best of several rounds each, in one process; what a whole message costs beside the sum is the two edges and the
event loop. Ends by itself.
"""

import contextlib
import io
import json
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import structlog

from service.app.registry import Registry
from service.edges.log import configure_logs, get_logger
from service.edges.metric import Metrics
from service.path.handler import Effects, Handler
from service.rules.answer import read_answer
from service.rules.coalesce import content_key, merge
from service.rules.history import recall
from service.rules.parse import parse
from service.rules.plan import plan
from service.rules.policy import Policy
from service.rules.publication import publish_report
from service.rules.report import Attempt, report_attempt
from service.rules.retry import RetryPolicy
from service.rules.verdict import judge
from service.words.call import OmniCall
from service.words.delivery import Delivery, Publication
from service.words.finding import Finding, Purpose, Unanswered
from service.words.outcome import Accepted, Outcome
from tests.bench.rivals.job import requests

_ROUNDS: Final = 7
_TIMES: Final = 2000
_MERGED: Final = 100


def cost(work: Callable[[], object], times: int = _TIMES) -> float:
    """Give the microseconds of CPU that one call takes."""
    best = float("inf")
    for _ in range(_ROUNDS):
        began = time.process_time()
        for _ in range(times):
            work()
        best = min(best, time.process_time() - began)
    return best / times * 1e6


def _answer(call: OmniCall) -> bytes:
    status = {"groupId": 1, "groupName": "PENDING", "id": 7, "name": "PENDING_ENROUTE"}
    messages = [{"messageId": message.message_id, "status": status} for message in call.messages]
    return json.dumps({"bulkId": "bench", "messages": messages}).encode()


def main() -> None:  # noqa: PLR0915 - a list
    """Measure and print."""
    (body,) = (json.dumps(request).encode() for request in requests(1, "distinct"))
    now = datetime.now(UTC)
    policy = Policy(RetryPolicy(8, 1.0, 300.0))
    delivery = Delivery(body, "application/json", "r-0")
    history = recall(delivery, now)
    parsed = parse(delivery, history, str)
    assert parsed.request is not None
    request = parsed.request
    (call,) = plan(request, history, None, policy)
    answer = _answer(call)
    outcome = read_answer(200, {}, answer, call.messages, now)
    assert isinstance(outcome, Accepted)
    attempt = Attempt(request, history, policy, now, 0.5)
    report = report_attempt(attempt, judge(call, outcome, ambiguous=False))
    merged = merge([call] * _MERGED)
    merged_answer = _answer(merged)

    async def post(calls: Sequence[OmniCall]) -> Sequence[Outcome]:
        return [outcome] * len(calls)

    async def look(_: tuple[str, ...], __: Purpose) -> Finding:
        return Unanswered("busy")

    async def publish(_: tuple[Publication, ...]) -> None:
        pass

    handler = Handler(Effects(post, look, publish, lambda: now, lambda: 0.5, str), policy)

    def whole() -> None:
        with contextlib.suppress(StopIteration):
            handler.handle(handler.read(delivery)).__await__().send(None)

    def whole_merged() -> None:
        read = [handler.read(delivery) for _ in range(_MERGED)]
        calls = [(errand, call) for errand in read if (call := handler.only_call(errand))]
        with contextlib.suppress(StopIteration):
            handler.handle_all(calls).__await__().send(None)

    metrics = Metrics()

    def count() -> None:
        metrics.deliveries["acked"].inc()
        metrics.attempts["accepted"].inc()
        metrics.events["message.accepted"].inc()
        metrics.handling_seconds.observe(0.1)
        metrics.attempt_seconds.observe(0.1)
        metrics.queue_seconds.observe(0.1)
        metrics.deliveries_in_flight.set(1)

    configure_logs("json", "info", 10**9)
    (output,) = logging.getLogger().handlers
    assert isinstance(output, logging.StreamHandler)
    output.setStream(io.StringIO())
    log = get_logger()

    def tell() -> None:
        log.info("delivery.settled", settlement="acked", seconds=0.1, request_id="r-0", attempts=0, redelivered=False)

    stages: dict[str, Callable[[], object]] = {
        "history": lambda: recall(delivery, now),
        "parse": lambda: parse(delivery, history, str),
        "plan": lambda: plan(request, history, None, policy),
        "render": call.to_json,
        "read answer": lambda: read_answer(200, {}, answer, call.messages, now),
        "judge": lambda: judge(call, outcome, ambiguous=False),
        "report": lambda: report_attempt(attempt, judge(call, outcome, ambiguous=False)),
        "publication": lambda: publish_report(report, delivery, now),
        "(whole path)": whole,
        "content key": lambda: content_key(call),
        "metrics": count,
        "log line": tell,
    }
    for name, work in stages.items():
        print(f"{name:<28}{cost(work):>8.1f}")  # noqa: T201
    structlog.reset_defaults()
    configure_logs("json", "info", 1)
    log = get_logger()
    print(f"{'log line left out':<28}{cost(tell):>8.1f}")  # noqa: T201
    shared: dict[str, Callable[[], object]] = {
        "(whole path)": whole_merged,
        "merge": lambda: merge([call] * _MERGED),
        "render": merged.to_json,
        "read answer": lambda: read_answer(200, {}, merged_answer, merged.messages, now),
    }
    for name, work in shared.items():
        print(f"{name + f' (of {_MERGED} merged)':<28}{cost(work, _TIMES // _MERGED) / _MERGED:>8.1f}")  # noqa: T201
    registry = Registry(1)
    print(f"{'registry: find':<28}{cost(lambda: registry.find(delivery)):>8.1f}")  # noqa: T201


if __name__ == "__main__":
    main()
