"""`omni-relay status`: one screen over workers and broker, from two samples some seconds apart.

It uses the rights of a worker. It does not look for the oldest request: RabbitMQ does not give the age of a message in
a quorum queue, and each look by taking and returning the message would count towards its delivery limit.
"""

import asyncio
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from http.client import HTTPException
from typing import Final

import click
from prometheus_client.parser import text_string_to_metric_families

from service.adapters.rabbitmq import BrokerErrors, RightMissingError, Session, queues
from service.adapters.settings import Settings
from service.adapters.terminal import written_json
from service.cli.options import broker_fault, connect_broker, reads_settings, settings
from service.core import topology
from service.core.overview import Overview, QueueLength, Sample, WorkerAnswer, delay_queues, overview
from service.core.printable import printable
from service.worker.app import retry_policy

_TIMEOUT: Final = 5.0
_LONGEST_PAGE: Final = 16 * 1024 * 1024
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Workers are reached directly, whatever proxy leads to OMNI."""
_OLDEST: Final = "not known: RabbitMQ does not give the age of a message in a quorum queue"

_Counts = dict[str, tuple[int, int] | None]


async def show_status(settings: Settings, urls: Sequence[str], seconds: float, *, as_json: bool) -> int:
    """Print the screen; returns the exit status."""
    not_asked: list[str] = []
    workers = await asyncio.gather(*(asyncio.to_thread(_ask_worker, url) for url in urls))
    policy = retry_policy(settings)
    delays = delay_queues(workers) or tuple(
        lane.delay_queue(delay) for lane in topology.LANES for delay in policy.delays
    )
    names = (*(lane.requests for lane in topology.LANES), *delays, topology.DEAD, topology.DIED)
    lengths = await _ask_broker(settings, names, seconds, not_asked)
    again = await asyncio.gather(*(asyncio.to_thread(_ask_worker, url) for url in urls))
    answers = [
        WorkerAnswer(now.url, then.after, now.after, now.ready, now.reason, now.fault or then.fault)
        for then, now in zip(workers, again, strict=True)
    ]
    found = overview(answers, lengths, seconds, not_asked)
    if as_json:
        click.echo(written_json({"ok": found.is_well, **asdict(found), "oldest": None}))
    else:
        for line in _screen(found):
            click.echo(printable(line))
    return 0 if found.is_well else 1


async def _ask_broker(
    settings: Settings, names: Sequence[str], seconds: float, not_asked: list[str]
) -> dict[str, QueueLength]:
    """Count what waits in each queue, twice; takes `seconds` in any case. Adds to `not_asked` what gave no answer."""
    try:
        session = await connect_broker(settings)
    except BrokerErrors as error:
        not_asked.append(f"the broker: {broker_fault(error)}")
        await asyncio.sleep(seconds)
        return {}
    try:
        before = await _count(session, names, [])
        await asyncio.sleep(seconds)
        after = await _count(session, names, not_asked)
    except BrokerErrors as error:
        not_asked.append(f"the broker: {type(error).__name__}: no answer")
        return {}
    finally:
        await session.close()
    return {name: _length(before.get(name), counts) for name, counts in after.items()}


def _length(before: tuple[int, int] | None, after: tuple[int, int] | None) -> QueueLength:
    if after is None:
        return QueueLength(None, None)
    return QueueLength(before[0] if before else None, after[0], after[1])


async def _count(session: Session, names: Iterable[str], not_asked: list[str]) -> _Counts:
    """Count what waits in each queue, as far as this user may; names each right that is missing."""
    counts: _Counts = {}
    for queue in names:
        try:
            counts[queue] = await queues.counts(session, queue)
        except RightMissingError as error:
            not_asked.append(f"the length of {queue}: {error}")
    return counts


def _ask_worker(url: str) -> WorkerAnswer:
    try:
        samples = tuple(_samples(get_page(f"{url}/metrics")[1].decode()))
        status, body = get_page(f"{url}/readyz")
        said = json.loads(body)
        return WorkerAnswer(url, after=samples, ready=status == 200, reason=said.get("reason"))  # noqa: PLR2004 - HTTP
    except (OSError, HTTPException) as error:
        cause = getattr(error, "reason", error)
        return WorkerAnswer(url, fault=f"{type(cause if isinstance(cause, OSError) else error).__name__}")
    except (ValueError, KeyError, AttributeError, RecursionError):
        return WorkerAnswer(url, fault="its answer is not a worker's")


def get_page(url: str) -> tuple[int, bytes]:
    """Ask an operations port; gives status and body.

    Raises `OSError` or `HTTPException`, or `ValueError` where it is no URL.
    """
    try:
        with _OPENER.open(url, timeout=_TIMEOUT) as answer:
            return answer.status, answer.read(_LONGEST_PAGE)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(_LONGEST_PAGE)


def _samples(page: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            yield Sample(sample.name, sample.labels, sample.value)


def _screen(found: Overview) -> Iterator[str]:
    yield "workers"
    for process in found.processes:
        name = process.url if process.number is None else f"{process.url} process {process.number}"
        consuming = "consuming" if process.consuming else "not consuming"
        pauses = "".join(f", PAUSED: {reason} since {since or '?'}" for reason, since in process.pauses.items())
        yield f"  {name}  {'connected' if process.connected else 'NOT CONNECTED'}, {consuming}{pauses}"
    yield f"{'queues':<34}{'ready':>9}{'growth/s':>10}{'consumers':>11}"
    for name, length in found.queues.items():
        growth = "?" if None in (length.before, length.after) else f"{_growth(length, found.seconds):+.1f}"
        yield f"  {name:<32}{'MISSING' if length.after is None else length.after:>9}{growth:>10}{length.consumers:>11}"
    yield f"  oldest request: {_OLDEST}"
    yield f"rates a second, over {found.seconds:g} s"
    yield from _table({name: f"{value:.1f}" for name, value in found.rates.items()} or {"not known": ""})
    yield "averages"
    yield from _table({name: "-" if value is None else f"{value:.3f} s" for name, value in found.averages.items()})
    yield "since the workers started"
    for title, counts in found.counts.items():
        yield from _table({title: ", ".join(f"{name} {count}" for name, count in counts.items()) or "-"})
    for title, lines in (("PROBLEM", found.problems), ("NOT ASKED", found.not_asked)):
        yield from (f"{title}  {line}" for line in lines)
    if found.is_well:
        yield "nothing that needs a person"


def _growth(length: QueueLength, seconds: float) -> float:
    return ((length.after or 0) - (length.before or 0)) / seconds


def _table(values: Mapping[str, str]) -> Iterator[str]:
    for name, value in values.items():
        yield f"  {name:<32}{value}"


_WORKER: Final = "http://127.0.0.1:9464"


def _base_url(_ctx: click.Context, _param: click.Parameter, urls: tuple[str, ...]) -> tuple[str, ...]:
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise click.BadParameter(f"{url!r} is not a URL such as {_WORKER}")
    return tuple(url.rstrip("/") for url in urls)


@click.command("status", epilog="Example: omni-relay status --json")
@reads_settings
@click.option(
    "--worker",
    "workers",
    multiple=True,
    default=(_WORKER,),
    show_default=True,
    callback=_base_url,
    metavar="URL",
    help="Operations port of a worker or a supervisor. May be repeated.",
)
@click.option("--seconds", type=click.FloatRange(0.1, 60), default=5.0, show_default=True, help="Between two samples.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
def command(workers: tuple[str, ...], seconds: float, as_json: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Show workers, pauses, rates, queues, dead letters, and which publications the broker refuses.

    Exit status 1 if something needs a person, or could not be asked.
    """
    sys.exit(asyncio.run(show_status(settings(), workers, seconds, as_json=as_json)))
