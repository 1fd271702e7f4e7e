"""`omni-relay dead`: lists, shows, replays and purges the dead letters.

A dead letter leaves the queue only after the broker has confirmed its replay. All others return to the queue when the
command ends, in whatever way. Three things follow from how brokers work:

* A broker deletes a message that was returned more often than the queue's delivery limit allows. So a letter that was
  returned before is published again as a new message as soon as it is read, before anything is printed: see `_chosen`.
* The command may end between the confirm of a publication and the acknowledgement of the letter. So a replay records
  each letter in a journal before it publishes it. The next replay marks the letters that it finds in the journal, and
  workers look for them in OMNI's logs before they post.
* Two replays at once could each take one of two duplicates of a letter. So only one replay runs at a time.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import field
from datetime import UTC, datetime
from typing import Final

import click

from service.adapters.rabbitmq import Acknowledger, BrokerErrors, Session, UnroutableError, connect, queues
from service.adapters.settings import Settings
from service.adapters.terminal import Table, written_json
from service.core import topology
from service.core.delivery import Publication
from service.core.forged_headers import can_be_forged
from service.core.printable import printable
from service.core.result.dead_letter import DeadLetter, Selection, body_text, read_dead, redrive, renew
from service.core.value import dataclass
from service.worker.signals import listen_for_signals

_LOCK_SECONDS: Final = 5.0
"""Longest wait for the lock. A broker needs a moment to notice that a command has ended."""
_LOCK_PAUSE: Final = 0.2
_RETURN_SECONDS, _RETURN_PAUSE = 2.0, 0.02
_JOURNAL_SECONDS: Final = 48 * 3600.0
"""Lifetime of the journal after its last use: as long as OMNI keeps its logs, in which a duplicate would be found."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The letters that the user selected, and the most of them."""

    selection: Selection
    limit: int | None = None


@dataclass(slots=True)
class Taken:
    """A letter that this command has taken from the queue."""

    dead_letter: DeadLetter
    acknowledger: Acknowledger
    is_duplicate: bool
    """This run has met the same letter before: an interrupted command has left two."""
    dropped: bool = False

    async def drop(self) -> None:
        """Remove it from the queue."""
        await self.acknowledger.ack()
        self.dropped = True


class _Refusal(click.ClickException):
    """Ends the command with one line on standard error and exit status 1."""

    def show(self, file: object = None) -> None:  # noqa: ARG002 - click's signature
        click.echo(printable(f"omni-relay: {self.message}"), err=True)


async def list_dead(settings: Settings, choice: Choice, *, as_json: bool) -> None:
    """Print a line for each letter. Raises one of `BrokerErrors`, as the other functions do."""
    table = Table((20, 8, 19, 8, 8), ("failed at", "reason", "request", "attempts", "redrives", "detail"))
    count = 0
    async with _connected(settings) as session, contextlib.aclosing(_chosen(session, choice)) as dead_letters:
        async for taken in dead_letters:
            if taken.is_duplicate:
                continue
            count += 1
            if as_json:
                click.echo(written_json(_summary(taken.dead_letter)))
            else:
                if count == 1:
                    table.head()
                table.add(_row(taken.dead_letter))
    if not as_json:
        click.echo(_counted("", count))


async def show_dead(settings: Settings, choice: Choice) -> int:
    """Print letters in full; return their number."""
    count = 0
    async with _connected(settings) as session, contextlib.aclosing(_chosen(session, choice)) as dead_letters:
        async for taken in dead_letters:
            if taken.is_duplicate:
                continue
            count += 1
            delivery = taken.dead_letter.delivery
            click.echo(written_json({**_summary(taken.dead_letter), "headers": delivery.headers}, indent=2))
            click.echo(printable(body_text(delivery)))
    return count


async def replay_dead(settings: Settings, choice: Choice, *, rate: float, dry_run: bool) -> None:
    """Publish letters again, `rate` per second. Each leaves the queue after the broker has confirmed it.

    The first SIGINT or SIGTERM ends the command after the current letter, a second one at once.
    """
    tally = _Tally("would be sent again" if dry_run else "sent again")
    async with _connected(settings) as session, _until_stopped(tally) as stop:
        if not dry_run:
            await _lock(session)
        journal = None if dry_run else await _Journal.open(session)
        async with contextlib.aclosing(_chosen(session, choice, stop)) as dead_letters:
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
    async with _connected(settings) as session, _until_stopped(tally) as stop:
        if not dry_run:
            await _lock(session)
        async with contextlib.aclosing(_chosen(session, choice, stop)) as dead_letters:
            async for taken in dead_letters:
                if not dry_run:
                    await taken.drop()
                tally.count(taken)


@dataclass(slots=True)
class _Journal:
    """The identities of letters that a replay was about to publish, in a queue of their own.

    An entry whose letter is gone has no meaning, so entries are not removed one by one. A replay that ends properly,
    and has met every letter that an earlier one may have published, deletes the queue.
    """

    session: Session
    kept: bool
    """False if this user may not declare the queue. Then every letter counts as possibly published."""
    ambiguous: set[bytes] = field(default_factory=set)
    """Letters that an earlier replay may have published."""

    @classmethod
    async def open(cls, session: Session) -> "_Journal":
        if await queues.declare_expiring(session, topology.REPLAY_JOURNAL, _JOURNAL_SECONDS) != "granted":
            _warn(
                f"this user may not declare {topology.REPLAY_JOURNAL}: letters are sent as if they may have been before"
            )
            return cls(session, kept=False)
        async with contextlib.aclosing(queues.take_all(session, topology.REPLAY_JOURNAL)) as entries:
            return cls(session, kept=True, ambiguous={entry.body async for entry, _ in entries})

    async def may_be_published(self, dead_letter: DeadLetter) -> bool:
        """Record a letter; return whether an earlier replay may have published it."""
        if not self.kept:
            return True
        if dead_letter.identity in self.ambiguous:
            self.ambiguous.remove(dead_letter.identity)
            return True
        entry = Publication(
            topology.RELAY, topology.REPLAY_JOURNAL, dead_letter.identity, "application/octet-stream", ""
        )
        await _publish(self.session, entry, f"the queue {topology.REPLAY_JOURNAL} was deleted")
        return False

    async def close(self) -> None:
        """Delete the queue, unless it is needed for letters that were not met."""
        if self.kept and not self.ambiguous:
            await queues.delete(self.session, topology.REPLAY_JOURNAL)


async def _send_again(session: Session, journal: _Journal, taken: Taken) -> None:
    republished = await journal.may_be_published(taken.dead_letter)
    missing = "no queue takes send requests; start a worker once, it declares what is needed"
    await _publish(session, redrive(taken.dead_letter, republished=republished), missing)


async def _publish(session: Session, publication: Publication, missing: str) -> None:
    """Return when the broker has confirmed it. Raises `_Refusal` with the text `missing` if unroutable."""
    try:
        await session.publish(publication)
    except UnroutableError:
        raise _Refusal(missing) from None


@contextlib.asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[Session]:
    session = await connect(settings.rabbitmq_urls)
    try:
        yield session
    finally:
        await session.close()


async def _lock(session: Session) -> None:
    """Exclude other commands that remove letters. Raises `_Refusal` if one is running."""
    deadline = asyncio.get_running_loop().time() + _LOCK_SECONDS
    while (permission := await queues.lock(session, topology.REPLAY_LOCK)) == "taken":
        if asyncio.get_running_loop().time() > deadline:
            raise _Refusal(
                f"another replay or purge is running, it holds {topology.REPLAY_LOCK}; wait until it has ended"
            )
        await asyncio.sleep(_LOCK_PAUSE)
    if permission == "forbidden":
        _warn(f"this user may not declare {topology.REPLAY_LOCK}, so do not start another replay or purge meanwhile")


async def _chosen(session: Session, choice: Choice, stop: asyncio.Event | None = None) -> AsyncGenerator[Taken]:
    """Yield the selected letters, oldest first, until `stop` is set.

    Only letters that were in the queue at the start are met, so one that is replayed and fails again is not met twice.
    From the first letter that must be renewed on, every letter is renewed; then all are met again, and yielded.

    A broker puts returned messages behind all that were returned earlier. So every letter is taken and returned, also
    if fewer are wanted or the caller stops early; otherwise their order would change.
    """
    left, kept, found, giving = await queues.depth(session, topology.DEAD), 0, 0, True
    renewed: Counter[bytes] = Counter()
    renewing = False
    met: set[bytes] = set()
    forgeable = can_be_forged(session.server)
    async with contextlib.aclosing(queues.take_all(session, topology.DEAD)) as dead_letters:
        while renewing or renewed.total() or left > 0:
            if stop is not None and stop.is_set() and not renewing:
                break
            delivery, acknowledger = await anext(dead_letters, (None, None))
            if delivery is None or acknowledger is None:
                break
            dead_letter = read_dead(delivery, forgeable=forgeable)
            kept += 1
            if renewed[dead_letter.identity] and not delivery.redelivered:
                renewing = False  # the first renewed letter is met again: all letters before it have been met
                renewed[dead_letter.identity] -= 1
            elif renewing or (dead_letter.must_be_renewed and not renewed.total()):
                # Confirmed before it is acknowledged: a command that ends in between leaves two letters, never none.
                await _publish(session, renew(dead_letter), f"the queue {topology.DEAD} was deleted")
                await acknowledger.ack()
                kept -= 1
                renewed[dead_letter.identity] += 1
                renewing, left = True, 0
                continue
            elif renewed.total():
                continue  # it has arrived since the start
            left -= 1
            giving = giving and found != choice.limit
            if giving and choice.selection.holds(dead_letter, datetime.now(UTC)):
                taken = Taken(dead_letter, acknowledger, dead_letter.identity in met)
                met.add(dead_letter.identity)
                found += not taken.is_duplicate
                try:
                    yield taken
                except GeneratorExit:
                    if stop is not None:
                        raise
                    giving = False
                kept -= taken.dropped
    await _until_returned(session, kept)


async def _until_returned(session: Session, count: int) -> None:
    """Wait until at least so many letters are in the queue, at most for seconds: others may take them."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_RETURN_SECONDS):
            while await queues.depth(session, topology.DEAD) < count:  # noqa: ASYNC110 - the broker sends no event for it
                await asyncio.sleep(_RETURN_PAUSE)


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

    A second signal cancels the work inside; then this raises `_Refusal`.
    """
    stop, abort = listen_for_signals()
    inside = asyncio.current_task()
    watching = asyncio.create_task(_cancel_upon(abort, inside))
    try:
        yield stop
    except asyncio.CancelledError:
        if not abort.is_set():
            raise
        raise _Refusal(f"ended at once: {tally}; the current letter may be sent again by the next replay") from None
    except BrokerErrors:
        _warn(f"interrupted: {tally}; all others are still in {topology.DEAD}")
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


def _warn(text: str) -> None:
    click.echo(printable(f"omni-relay: {text}"), err=True)


def _summary(dead_letter: DeadLetter) -> dict[str, object]:
    return {
        "requestId": dead_letter.request_id,
        "reason": dead_letter.reason,
        "detail": dead_letter.detail,
        "failedAt": dead_letter.failed_at and dead_letter.failed_at.isoformat(),
        "attempts": dead_letter.attempts,
        "redrives": dead_letter.redrives,
        "bytes": len(dead_letter.delivery.body),
    }


def _row(dead_letter: DeadLetter) -> tuple[str, ...]:
    failed_at = dead_letter.failed_at.strftime("%Y-%m-%dT%H:%M:%SZ") if dead_letter.failed_at else "-"
    numbers = str(dead_letter.attempts), str(dead_letter.redrives)
    return failed_at, dead_letter.reason, dead_letter.request_id or "-", *numbers, dead_letter.detail


def _counted(what: str, count: int) -> str:
    return f"{count} dead letter{'s' * (count != 1)} {what}".rstrip()
