"""The work of `omni-relay dead`: list, show, replay and purge; `dead` has the options."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import click

from service.adapters.rabbitmq import BrokerErrors, Session
from service.adapters.settings import Settings
from service.adapters.terminal import Table, written_json
from service.cli.dead_letter_queue import Choice, Journal, Refusal, Taken, chosen, lock, publish
from service.cli.options import connect_broker, say
from service.core import topology
from service.core.printable import printable
from service.core.result.dead_letter import DeadLetter, body_text, redrive
from service.core.value import dataclass
from service.worker.signals import listen_for_signals


async def list_dead(settings: Settings, choice: Choice, *, as_json: bool) -> None:
    """Print a line for each letter. Raises one of `BrokerErrors`, as the other functions do."""
    table = Table((20, 8, 6, 19, 8, 8), ("failed at", "reason", "lane", "request", "attempts", "redrives", "detail"))
    count = 0
    async with connected(settings) as session, contextlib.aclosing(chosen(session, choice)) as dead_letters:
        async for taken in dead_letters:
            if taken.is_duplicate:
                continue
            count += 1
            if as_json:
                click.echo(written_json(summary(taken.dead_letter)))
            else:
                if count == 1:
                    table.head()
                table.add(_row(taken.dead_letter))
    if not as_json:
        click.echo(_counted("", count))


async def show_dead(settings: Settings, choice: Choice) -> int:
    """Print letters in full; return their number."""
    count = 0
    async with connected(settings) as session, contextlib.aclosing(chosen(session, choice)) as dead_letters:
        async for taken in dead_letters:
            if taken.is_duplicate:
                continue
            count += 1
            delivery = taken.dead_letter.delivery
            click.echo(written_json({**summary(taken.dead_letter), "headers": delivery.headers}, indent=2))
            click.echo(printable(body_text(delivery)))
    return count


async def replay_dead(settings: Settings, choice: Choice, *, rate: float, dry_run: bool) -> None:
    """Publish letters again, `rate` per second. Each leaves the queue after the broker has confirmed it.

    The first SIGINT or SIGTERM ends the command after the current letter, a second one at once.
    """
    tally = _Tally("would be sent again" if dry_run else "sent again")
    async with connected(settings) as session, _until_stopped(tally) as stop:
        if not dry_run:
            await lock(session)
        journal = None if dry_run else await Journal.open(session)
        async with contextlib.aclosing(chosen(session, choice, stop)) as dead_letters:
            async for taken in dead_letters:
                if journal is not None:
                    if not taken.is_duplicate:
                        await _send_again(session, journal, taken)
                    await taken.drop()
                tally.count(taken)
                if journal is not None and not taken.is_duplicate:
                    await _pause(stop, 1 / rate)
        if journal is not None:
            await journal.close()


async def purge_dead(settings: Settings, choice: Choice, *, dry_run: bool) -> None:
    """Delete letters. Ends upon signals as `replay_dead` does."""
    tally = _Tally("would be dropped" if dry_run else "dropped")
    async with connected(settings) as session, _until_stopped(tally) as stop:
        if not dry_run:
            await lock(session)
        async with contextlib.aclosing(chosen(session, choice, stop)) as dead_letters:
            async for taken in dead_letters:
                if not dry_run:
                    await taken.drop()
                tally.count(taken)


async def _send_again(session: Session, journal: Journal, taken: Taken) -> None:
    republished = await journal.may_be_published(taken.dead_letter)
    missing = "no queue takes send requests; start a worker once, it declares what is needed"
    await publish(session, redrive(taken.dead_letter, republished=republished), missing)


@contextlib.asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Session]:
    """Open a session, and close it at the end. Raises one of `BrokerErrors`."""
    session = await connect_broker(settings)
    try:
        yield session
    finally:
        await session.close()


@dataclass(slots=True)
class _Tally:
    """The letters that a command has processed so far."""

    what: str
    dead_letters: int = 0
    duplicates: int = 0

    def count(self, taken: Taken) -> None:
        if taken.is_duplicate:
            self.duplicates += 1
        else:
            self.dead_letters += 1

    def __str__(self) -> str:
        more = f"; duplicates of these dropped: {self.duplicates}" if self.duplicates else ""
        return _counted(self.what, self.dead_letters) + more


@contextlib.asynccontextmanager
async def _until_stopped(tally: _Tally) -> AsyncIterator[asyncio.Event]:
    """Yield the event that the first SIGINT or SIGTERM sets. Prints the tally at the end.

    A second signal cancels the work inside; then this raises `Refusal`.
    """
    stop, abort = listen_for_signals()
    inside = asyncio.current_task()
    watching = asyncio.create_task(_cancel_upon(abort, inside))
    try:
        yield stop
    except asyncio.CancelledError:
        if not abort.is_set():
            raise
        raise Refusal(f"ended at once: {tally}; the current letter may be sent again by the next replay") from None
    except BrokerErrors:
        say(f"interrupted: {tally}; all others are still in {topology.DEAD}")
        raise
    finally:
        watching.cancel()
    click.echo(f"stopped on request: {tally}" if stop.is_set() else str(tally))


async def _cancel_upon(abort: asyncio.Event, task: "asyncio.Task[None] | None") -> None:
    await abort.wait()
    if task is not None:
        task.cancel()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def summary(dead_letter: DeadLetter) -> dict[str, object]:
    """Describe a dead letter without its body and the headers of its producer."""
    return {
        "requestId": dead_letter.request_id,
        "reason": dead_letter.reason,
        "detail": dead_letter.detail,
        "lane": dead_letter.delivery.lane.name,
        "failedAt": dead_letter.failed_at and dead_letter.failed_at.isoformat(),
        "attempts": dead_letter.attempts,
        "redrives": dead_letter.redrives,
        "appId": dead_letter.delivery.app_id,
        "bytes": len(dead_letter.delivery.body),
    }


def _row(dead_letter: DeadLetter) -> tuple[str, ...]:
    failed_at = dead_letter.failed_at.strftime("%Y-%m-%dT%H:%M:%SZ") if dead_letter.failed_at else "-"
    numbers = str(dead_letter.attempts), str(dead_letter.redrives)
    lane = dead_letter.delivery.lane.name
    return failed_at, dead_letter.reason, lane, dead_letter.request_id or "-", *numbers, dead_letter.detail


def _counted(what: str, count: int) -> str:
    return f"{count} dead letter{'s' * (count != 1)} {what}".rstrip()
