"""Takes dead letters out of their queue so that none is lost, whatever ends the command.

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
from collections.abc import AsyncGenerator
from dataclasses import field
from datetime import UTC, datetime
from typing import Final

import click

from service.adapters.rabbitmq import Acknowledger, Session, UnroutableError, queues
from service.cli.options import say
from service.core import topology
from service.core.delivery import Publication
from service.core.forged_headers import can_be_forged
from service.core.result.dead_letter import DeadLetter, Selection, read_dead, renew
from service.core.value import dataclass

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


class Refusal(click.ClickException):
    """Ends the command with one line on standard error and exit status 1."""

    def show(self, file: object = None) -> None:  # noqa: ARG002 - click's signature
        """Print the line."""
        say(self.message)


@dataclass(slots=True)
class Journal:
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
    async def open(cls, session: Session) -> "Journal":
        """Declare the queue, and read the entries of an earlier replay."""
        if await queues.declare_expiring(session, topology.REPLAY_JOURNAL, _JOURNAL_SECONDS) != "granted":
            say(
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
        await publish(self.session, entry, f"the queue {topology.REPLAY_JOURNAL} was deleted")
        return False

    async def close(self) -> None:
        """Delete the queue, unless it is needed for letters that were not met."""
        if self.kept and not self.ambiguous:
            await queues.delete(self.session, topology.REPLAY_JOURNAL)


async def publish(session: Session, publication: Publication, missing: str) -> None:
    """Return when the broker has confirmed it. Raises `Refusal` with the text `missing` if unroutable."""
    try:
        await session.publish(publication)
    except UnroutableError:
        raise Refusal(missing) from None


async def lock(session: Session) -> None:
    """Exclude other commands that remove letters. Raises `Refusal` if one is running."""
    deadline = asyncio.get_running_loop().time() + _LOCK_SECONDS
    while (permission := await queues.lock(session, topology.REPLAY_LOCK)) == "taken":
        if asyncio.get_running_loop().time() > deadline:
            raise Refusal(
                f"another replay or purge is running, it holds {topology.REPLAY_LOCK}; wait until it has ended"
            )
        await asyncio.sleep(_LOCK_PAUSE)
    if permission == "forbidden":
        say(f"this user may not declare {topology.REPLAY_LOCK}, so do not start another replay or purge meanwhile")


async def chosen(session: Session, choice: Choice, stop: asyncio.Event | None = None) -> AsyncGenerator[Taken]:
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
                await publish(session, renew(dead_letter), f"the queue {topology.DEAD} was deleted")
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
