from collections.abc import Mapping

import pytest

from service.core.overview import Overview, QueueLength, Sample, WorkerAnswer, delay_queues, overview

URL = "http://worker:9464"
WORKS: Mapping[str, float] = {"connected": 1, "consuming": 1}


def samples(values: Mapping[str, float], process: str = "") -> list[Sample]:
    """Read `name`, or `name label=value`, with our prefix left out."""
    found = []
    for text, value in values.items():
        name, _, label = text.partition(" ")
        labels = {label.partition("=")[0]: label.partition("=")[2]} if label else {}
        found.append(Sample(f"omni_relay_{name}", labels | ({"process": process} if process else {}), value))
    return found


def answer(before: Mapping[str, float], after: Mapping[str, float], *, ready: bool = True) -> WorkerAnswer:
    return WorkerAnswer(URL, samples(before), samples({**WORKS, **after}), ready, None if ready else "stopping")


def found(*workers: WorkerAnswer, **queues: QueueLength) -> Overview:
    return overview(workers, {f"omni.{name}": length for name, length in queues.items()}, 5.0, ())


def test_a_worker_that_works_and_empty_queues_need_nobody() -> None:
    seen = found(answer({}, {}), requests=QueueLength(0, 0, 1), dead=QueueLength(0, 0))

    assert (seen.problems, seen.is_well) == ((), True)


def test_a_part_that_was_not_asked_is_never_well() -> None:
    assert not overview([answer({}, {})], {}, 5.0, ["the broker"]).is_well


def test_rates_are_changes_a_second_and_a_counter_that_fell_counts_from_zero() -> None:
    first = answer({"deliveries_total settlement=acked": 100}, {"deliveries_total settlement=acked": 110})
    again = answer({"deliveries_total settlement=acked": 100}, {"deliveries_total settlement=acked": 5})

    assert found(first, again).rates["deliveries settled"] == 3


def test_requests_in_are_those_settled_for_good_and_those_by_which_the_queues_grow() -> None:
    worker = answer(
        {"deliveries_total settlement=acked": 0, "retries_total queue=q": 0},
        {"deliveries_total settlement=acked": 50, "retries_total queue=q": 20},
    )
    queues = {"omni.requests": QueueLength(0, 10, 1), "omni.requests.delay.1": QueueLength(None, 7)}

    assert overview([worker], queues, 5.0, ()).rates["requests in"] == 8


def test_the_wait_of_urgent_requests_is_also_shown_apart() -> None:
    waits = {"queue_seconds_sum lane=normal": 30, "queue_seconds_count lane=normal": 2}
    seen = found(answer({}, {**waits, "queue_seconds_sum lane=urgent": 1, "queue_seconds_count lane=urgent": 8}))

    assert seen.averages["wait before the first attempt"] == 3.1
    assert seen.averages["the same, of urgent requests"] == 0.125


def test_events_and_attempts_of_the_interval_alone_have_a_rate() -> None:
    seen = found(
        answer(
            {"events_total type=a": 1, "events_total type=b": 1}, {"events_total type=a": 1, "events_total type=b": 11}
        )
    )

    assert {name: rate for name, rate in seen.rates.items() if name.startswith("events")} == {"events b": 2}


def test_other_labels_of_a_metric_are_not_mixed_in() -> None:
    seen = found(answer({}, {"dead_letters_total reason=poison": 2, "dead_letters_total other=x": 3}))

    assert seen.counts["dead letters"] == {"poison": 2}


def test_a_pause_is_a_problem_with_its_reason_its_beginning_and_its_cure() -> None:
    seen = found(
        answer({}, {"paused reason=denied": 1, "paused_since_timestamp_seconds reason=denied": 60, "consuming": 0})
    )

    (problem,) = seen.problems
    assert problem.startswith(f"{URL}: sending is paused since 1970-01-01T00:01:00Z, denied: OMNI refuses")
    assert seen.processes[0].pauses == {"denied": "1970-01-01T00:01:00Z"}


def test_a_pause_for_a_new_reason_without_a_time_is_shown_too() -> None:
    (problem,) = found(answer({}, {"paused reason=moon": 1})).problems

    assert problem == f"{URL}: sending is paused, moon: see the log event sending.paused"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"connected": 0, "consuming": 0}, "not connected to RabbitMQ"),
        ({"consuming": 0}, "takes no requests, and is not paused"),
        ({"publish_failures_total": 2}, "2 publications were not confirmed"),
        ({"publications_skipped_total": 1}, "1 publications were given up"),
        ({"events_unroutable_total": 3}, "3 events found no queue"),
        ({"log_lookups_total result=forbidden": 1}, "may not read OMNI's logs"),
        ({"requests_invalid_total": 3, "deliveries_total settlement=acked": 10}, "3 of 10 requests are wrong"),
        ({"attempt_seconds_sum": 24, "attempt_seconds_count": 2}, "a call takes 12.0 s on average"),
    ],
)
def test_each_fault_is_named(values: Mapping[str, float], text: str) -> None:
    (problem,) = found(answer({}, values)).problems

    assert text in problem


def test_processes_of_a_supervisor_are_named_apart() -> None:
    after = [*samples(WORKS, "1"), *samples({"connected": 1, "consuming": 0}, "2"), Sample("python_info", {}, 1)]
    seen = found(WorkerAnswer(URL, (), after, ready=True))

    assert seen.problems == (f"{URL} process 2: takes no requests, and is not paused: see its log",)


def test_a_worker_that_gave_no_answer_is_not_ready_or_is_none_is_a_problem() -> None:
    other = WorkerAnswer("http://other", after=[Sample("omni_relay_x", {}, 1)], ready=True)
    seen = found(WorkerAnswer("http://gone", fault="TimeoutError"), answer({}, {}, ready=False), other)

    assert seen.problems == (
        "http://gone: no answer from a worker: TimeoutError",
        f"{URL}: not ready: stopping",
        "http://other: no worker process answers there",
    )


def test_queues_that_need_a_person_are_named() -> None:
    lengths = {
        "omni.requests": QueueLength(0, 3),
        "omni.requests.urgent": QueueLength(0, 3),
        "omni.dead": QueueLength(2, 2),
        "omni.results": QueueLength(None, None),
    }
    seen = overview([answer({}, {})], lengths, 5.0, ())

    assert [problem.partition(":")[0] for problem in seen.problems] == list(lengths)


def test_delay_queues_are_those_that_workers_count_retries_for() -> None:
    worker = answer({}, {"retries_total queue=omni.requests.delay.1": 0, "retries_total queue=other": 0})

    assert delay_queues([worker, worker]) == ("omni.requests.delay.1",)
    assert delay_queues([]) == ()


def test_without_an_answer_no_rate_and_no_count_is_made_up() -> None:
    seen = found(WorkerAnswer(URL, fault="TimeoutError"), requests=QueueLength(0, 5, 1))

    assert (seen.rates, set(map(len, seen.counts.values()))) == ({}, {0})


def test_a_few_wrong_requests_need_nobody_of_the_operators() -> None:
    assert found(answer({}, {"requests_invalid_total": 2, "deliveries_total settlement=acked": 10})).is_well
