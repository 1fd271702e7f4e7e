"""`omni-relay dead`: look at the dead letters, send them again, drop them.

A letter is taken off the queue only once what became of it is confirmed; all others go back when the command ends,
also if it ends by a crash.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import click

from service.edges.rabbitmq import Receipt, Session, connect
from service.edges.settings import Settings
from service.edges.terminal import Table, shown
from service.rules.redrive import DeadLetter, Selection, read_dead, redrive, renew
from service.words import topology
from service.words.value import dataclass


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters, and how many of them."""

    selection: Selection
    limit: int | None = None


@dataclass(slots=True)
class Held:
    """A letter that this command holds."""

    letter: DeadLetter
    session: Session
    receipt: Receipt
    gone: bool = False

    async def drop(self) -> None:
        """Take it off the queue."""
        await self.receipt.ack()
        self.gone = True

    async def let_go(self) -> None:
        """Leave it in the queue; each time that counts as a delivery, so one that nears the limit is put back anew."""
        if not self.gone and self.letter.is_weary:
            await self.session.publish(renew(self.letter))
            await self.drop()


async def list_dead(settings: Settings, choice: Choice, *, as_json: bool) -> None:
    """Print a line for each letter. Raises one of `BrokerErrors`, as all of these do."""
    table = Table((20, 8, 19, 8, 8), ("failed at", "reason", "request", "attempts", "redrives", "detail"))
    count = 0
    async for held in _chosen(settings, choice):
        count += 1
        if as_json:
            click.echo(json.dumps(_summary(held.letter)))
        else:
            if count == 1:
                table.head()
            table.add(_row(held.letter))
    if not as_json:
        click.echo(_told("", count))


async def show_dead(settings: Settings, choice: Choice) -> int:
    """Print letters whole; gives how many there are."""
    count = 0
    async for held in _chosen(settings, choice):
        count += 1
        delivery = held.letter.delivery
        click.echo(json.dumps({**_summary(held.letter), "headers": delivery.headers}, default=str, indent=2))
        click.echo(shown(delivery.body.decode(errors="replace")))
    return count


async def replay_dead(settings: Settings, choice: Choice, *, rate: float, dry_run: bool) -> None:
    """Send letters again, so many a second; the broker has confirmed each before it leaves the queue."""
    seen: set[bytes] = set()
    copies = 0
    async for held in _chosen(settings, choice):
        if held.letter.identity in seen:
            copies += 1
        elif not dry_run:
            await held.session.publish(redrive(held.letter))
            await asyncio.sleep(1 / rate)
        seen.add(held.letter.identity)
        if not dry_run:
            await held.drop()
    more = f", and {copies} that were copies of these dropped" if copies else ""
    click.echo(_told("would be sent again" if dry_run else "sent again", len(seen)) + more)


async def purge_dead(settings: Settings, choice: Choice, *, dry_run: bool) -> None:
    """Drop letters for good."""
    count = 0
    async for held in _chosen(settings, choice):
        count += 1
        if not dry_run:
            await held.drop()
    click.echo(_told("would be dropped" if dry_run else "dropped", count))


async def _chosen(settings: Settings, choice: Choice) -> AsyncIterator[Held]:
    """Give the letters that are meant, oldest first.

    Only those that are there at the start: one that is sent again and dies again is not met twice.
    """
    session = await connect(settings.rabbitmq_urls)
    found = 0
    try:
        async with contextlib.aclosing(session.taking(topology.DEAD)) as letters:
            async for delivery, receipt in letters:
                held = Held(read_dead(delivery), session, receipt)
                if choice.selection.holds(held.letter, datetime.now(UTC)):
                    found += 1
                    yield held
                await held.let_go()
                if found == choice.limit:
                    break
    finally:
        await session.close()


def _summary(letter: DeadLetter) -> dict[str, object]:
    return {
        "requestId": letter.request_id,
        "reason": letter.reason,
        "detail": letter.detail,
        "failedAt": letter.failed_at and letter.failed_at.isoformat(),
        "attempts": letter.attempts,
        "redrives": letter.redrives,
        "bytes": len(letter.delivery.body),
    }


def _row(letter: DeadLetter) -> tuple[str, ...]:
    failed_at = letter.failed_at.strftime("%Y-%m-%dT%H:%M:%SZ") if letter.failed_at else "-"
    numbers = str(letter.attempts), str(letter.redrives)
    return failed_at, letter.reason, shown(letter.request_id) or "-", *numbers, shown(letter.detail)


def _told(what: str, count: int) -> str:
    return f"{count} dead letter{'s' * (count != 1)} {what}".rstrip()
