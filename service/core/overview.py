"""The conclusions of `omni-relay status` from two samples of each worker's metrics and of the broker's queues.

A counter that is lower in the second sample belongs to a process that has started again, so it counts from 0. One file,
since every number and every problem is drawn from the same two samples.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from service.core import topology
from service.core.value import dataclass

_PREFIX: Final = "omni_relay_"
_SLOW: Final = 5.0
"""Seconds that a call to OMNI takes on average when it counts as slow; the alert has the same limit."""
_MANY_INVALID: Final = 0.2
"""Share of requests above which wrong ones count as a problem; the alert has the same limit."""
_REQUEST_QUEUES: Final = {lane.requests for lane in topology.LANES}
_PROCESS: Final = "process"
"""The label that a supervisor adds."""
_CURES: Final[Mapping[str, str]] = {
    "denied": "OMNI refuses the credentials or the account: repair those",
    "failing": "OMNI takes no calls; they are tried again every few seconds",
    "results_stalled": "the broker confirms no events: look for a full queue bound to omni.results, or an alarm; "
    "see OmniRelayResultsStalled",
    "memory_unavailable": "the shared memory is required and unavailable: see the log event memory.unavailable",
}
_REFUSED: Final[Mapping[str, str]] = {
    "publish_failures": "publications were not confirmed and are repeated: see the log event publish.retried",
    "publications_skipped": "publications were given up: see the log event publish.skipped",
    "events_unroutable": "events found no queue: bind one to omni.results",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a worker's metrics page."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class WorkerAnswer:
    """A worker's operations port, asked twice. `fault` says why it gave no answer."""

    url: str
    before: Sequence[Sample] = ()
    after: Sequence[Sample] = ()
    ready: bool = False
    reason: str | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class QueueLength:
    """Ready messages of a queue in both samples, and its consumers; None if there is no such queue."""

    before: int | None
    after: int | None
    consumers: int = 0


@dataclass(frozen=True, slots=True)
class Process:
    """One worker process: whether it works, or why and since when it pauses."""

    url: str
    number: str | None
    connected: bool
    consuming: bool
    pauses: Mapping[str, str]
    """Reasons, and when each pause began (RFC 3339, or empty where it is not known)."""


@dataclass(frozen=True, slots=True)
class Overview:
    """Workers and broker as a person on call needs them. Rates are a second, over `seconds`; counts since the start."""

    seconds: float
    processes: tuple[Process, ...]
    queues: Mapping[str, QueueLength]
    rates: Mapping[str, float]
    averages: Mapping[str, float | None]
    """Seconds; None where there was nothing to measure."""
    counts: Mapping[str, Mapping[str, int]]
    problems: tuple[str, ...] = ()
    not_asked: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether everything was asked and nothing needs a person."""
        return not self.problems and not self.not_asked


def overview(
    workers: Sequence[WorkerAnswer], queues: Mapping[str, QueueLength], seconds: float, not_asked: Iterable[str]
) -> Overview:
    """Draw the conclusions."""
    changes, totals = _changes(workers), _totals(workers)
    processes = tuple(process for worker in workers for process in _processes(worker))
    averages = {
        "attempt": _mean(changes, "attempt_seconds"),
        "wait before the first attempt": _mean(changes, "queue_seconds"),
        "the same, of urgent requests": _mean(changes, "queue_seconds", lane="urgent"),
    }
    problems = (
        *_worker_problems(workers, processes),
        *_queue_problems(queues),
        *_change_problems(changes, averages["attempt"]),
    )
    return Overview(
        seconds,
        processes,
        queues,
        _rates(changes, queues, seconds) if processes else {},  # without an answer, 0 would be a guess
        averages,
        {
            "dead letters": _by(totals, "dead_letters_total", "reason"),
            "ambiguous attempts": _by(totals, "ambiguous_attempts_total", "resolution"),
            "refused by the broker": {name: int(_sum(totals, f"{name}_total")) for name in _REFUSED if processes},
            "reply copies": _by(totals, "reply_copies_total", "result"),
        },
        problems,
        tuple(not_asked),
    )


def delay_queues(workers: Iterable[WorkerAnswer]) -> tuple[str, ...]:
    """Name the delay queues that the workers say they use."""
    found = {
        sample.labels.get("queue", ""): None
        for worker in workers
        for sample in worker.after
        if sample.name == f"{_PREFIX}retries_total"
    }
    return tuple(name for name in found if name.startswith(f"{topology.REQUESTS}."))


_Series = tuple[str, tuple[tuple[str, str], ...]]
"""A metric's name without our prefix, and its labels without the process."""


def _series(sample: Sample) -> _Series:
    labels = sorted((name, value) for name, value in sample.labels.items() if name != _PROCESS)
    return sample.name.removeprefix(_PREFIX), tuple(labels)


def _changes(workers: Iterable[WorkerAnswer]) -> Mapping[_Series, float]:
    changes: defaultdict[_Series, float] = defaultdict(float)
    for worker in workers:
        earlier = {(sample.name, _labels(sample)): sample.value for sample in worker.before}
        for sample in worker.after:
            before = earlier.get((sample.name, _labels(sample)), 0.0)
            changes[_series(sample)] += sample.value - before if sample.value >= before else sample.value
    return changes


def _labels(sample: Sample) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(sample.labels.items()))


def _totals(workers: Iterable[WorkerAnswer]) -> Mapping[_Series, float]:
    totals: defaultdict[_Series, float] = defaultdict(float)
    for worker in workers:
        for sample in worker.after:
            totals[_series(sample)] += sample.value
    return totals


def _sum(values: Mapping[_Series, float], name: str, **labels: str) -> float:
    wanted = labels.items()
    return sum(value for (own, given), value in values.items() if own == name and wanted <= dict(given).items())


def _by(values: Mapping[_Series, float], name: str, label: str) -> dict[str, int]:
    found: Counter[str] = Counter()
    for (own, labels), value in values.items():
        if own == name and (key := dict(labels).get(label)) is not None:
            found[key] += int(value)
    return dict(found)


def _mean(changes: Mapping[_Series, float], name: str, **labels: str) -> float | None:
    count = _sum(changes, f"{name}_count", **labels)
    return _sum(changes, f"{name}_sum", **labels) / count if count else None


def _rates(changes: Mapping[_Series, float], queues: Mapping[str, QueueLength], seconds: float) -> Mapping[str, float]:
    """Give rates a second. Requests come in as fast as they are settled for good and the queues grow."""
    settled = _sum(changes, "deliveries_total")
    waiting = [(one.before, one.after) for name, one in queues.items() if name.startswith(topology.REQUESTS)]
    growth = sum(after - before for before, after in waiting if before is not None and after is not None)
    retried = _sum(changes, "retries_total")
    changed = {"requests in": max(0.0, settled + growth - retried), "deliveries settled": settled, "retries": retried}
    changed |= {f"events {name}": value for name, value in _by(changes, "events_total", "type").items() if value}
    changed |= {f"attempts {name}": value for name, value in _by(changes, "attempts_total", "outcome").items() if value}
    return {name: value / seconds for name, value in changed.items()}


def _processes(worker: WorkerAnswer) -> Iterator[Process]:
    by_process: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in worker.after:
        if sample.name.startswith(_PREFIX):
            by_process[sample.labels.get(_PROCESS, "")].append(sample)
    for number, samples in sorted(by_process.items()):
        own = _totals([WorkerAnswer(worker.url, after=samples)])
        if ("connected", ()) in own:
            since = _by(own, "paused_since_timestamp_seconds", "reason")
            pauses = {
                name: _moment(since.get(name, 0)) for name, value in _by(own, "paused", "reason").items() if value
            }
            consuming = _sum(own, "consuming") > 0
            yield Process(worker.url, number or None, _sum(own, "connected") > 0, consuming, pauses)


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z") if seconds else ""


def _worker_problems(workers: Iterable[WorkerAnswer], processes: Iterable[Process]) -> Iterator[str]:
    processes = tuple(processes)
    for worker in workers:
        if worker.fault is not None:
            yield f"{worker.url}: no answer from a worker: {worker.fault}"
        elif not any(process.url == worker.url for process in processes):
            yield f"{worker.url}: no worker process answers there"
        elif not worker.ready:
            yield f"{worker.url}: not ready: {worker.reason}"
    for process in processes:
        name = process.url if process.number is None else f"{process.url} process {process.number}"
        for reason, since in process.pauses.items():
            started = f" since {since}" if since else ""
            cure = _CURES.get(reason, "see the log event sending.paused")
            yield f"{name}: sending is paused{started}, {reason}: {cure}"
        if not process.connected:
            yield f"{name}: not connected to RabbitMQ: see the log event broker.refused"
        elif not process.consuming and not process.pauses:
            yield f"{name}: takes no requests, and is not paused: see its log"


def _queue_problems(queues: Mapping[str, QueueLength]) -> Iterator[str]:
    for name, length in queues.items():
        if length.after is None:
            yield f"{name}: there is no such queue; a worker with RELAY_RABBITMQ_DECLARE=true declares it"
        elif name == topology.DEAD and length.after:
            yield f"{name}: {length.after} dead letters: `omni-relay dead list` shows why"
        elif name in _REQUEST_QUEUES and length.after and not length.consumers:
            yield f"{name}: {length.after} requests wait and no worker consumes"


def _change_problems(changes: Mapping[_Series, float], attempt: float | None) -> Iterator[str]:
    for name, text in _REFUSED.items():
        if count := _sum(changes, f"{name}_total"):
            yield f"{int(count)} {text}"
    if _by(changes, "log_lookups_total", "result").get("forbidden"):
        yield "the credentials may not read OMNI's logs: ambiguous attempts are settled by policy alone"
    invalid, settled = _sum(changes, "requests_invalid_total"), _sum(changes, "deliveries_total")
    if invalid > _MANY_INVALID * settled:
        counts = f"{int(invalid)} of {int(settled)}"
        yield f"{counts} requests are wrong: the log event message.unaccepted names the producer"
    if attempt is not None and attempt > _SLOW:
        yield f"OMNI is slow: a call takes {attempt:.1f} s on average"
