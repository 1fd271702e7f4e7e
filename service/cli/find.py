"""`omni-relay find`: what is known about a request or a message, without its text and its addresses.

Three places are asked. The memory that all workers share, if there is one, knows the requests of the latest
`RELAY_MEMORY_TTL` seconds. OMNI's logs know messages by their id, for 48 hours. `omni.dead` is read as `omni-relay dead
list` reads it, so each dead letter stays there. Requests that wait in a queue cannot be searched.
"""

import asyncio
import contextlib
import sys
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

import click

from service.adapters.omni import OmniClient
from service.adapters.rabbitmq import AccessRefusedError, BrokerErrors
from service.adapters.settings import Settings, SettingsError
from service.adapters.terminal import written_json
from service.cli.dead_letter_queue import Choice, chosen
from service.cli.dead_letters import connected, summary
from service.cli.memory import memory_lines, remembered
from service.cli.options import reads_settings, settings
from service.core import topology
from service.core.attempt.lookup import Answered, Forbidden, Unanswered
from service.core.omni.answer import LogEntry
from service.core.printable import printable
from service.core.result.dead_letter import DeadLetter, Selection, message_ids
from service.worker.app import access

_MOST_IDS: Final = 50
"""Messages of a dead letter that OMNI is asked about and that are shown: all have to fit into a URL."""
_NEVER_ASKED: Final = (
    "requests that wait in omni.requests, omni.requests.urgent or a delay queue: RabbitMQ cannot search a queue"
)

Row = dict[str, Any]


async def find_id(settings: Settings, name: str, *, as_json: bool) -> int:
    """Print what is known; returns the exit status."""
    not_asked = [_NEVER_ASKED]
    dead_letters = await _dead_letters(settings, name, not_asked)
    ids = tuple(dict.fromkeys((name, *(one for dead_letter in dead_letters for one in dead_letter["messageIds"]))))
    logged = await _logged(settings, ids[: _MOST_IDS + 1], not_asked)
    known = await remembered(settings, name, not_asked)
    is_known = bool(dead_letters or logged or known)
    if as_json:
        found = {"id": name, "known": is_known, "memory": known, "omniLogs": logged}
        found |= {"deadLetters": dead_letters, "notAsked": not_asked}
        click.echo(written_json(found))
    else:
        lines = [
            *(memory_lines(known) if known else ()),
            *map(_log_line, logged),
            *map(_dead_line, dead_letters),
            *(f"not asked      {one}" for one in not_asked),
        ]
        for line in lines if is_known else (*lines, "nothing is known about this id"):
            click.echo(printable(line))
    return 0 if is_known else 1


async def _dead_letters(settings: Settings, name: str, not_asked: list[str]) -> list[Row]:
    """Give those that are this request, or have this message; adds to `not_asked` why they could not be read."""
    found: list[Row] = []
    try:
        everything = Choice(Selection())
        async with connected(settings) as session, contextlib.aclosing(chosen(session, everything)) as dead_letters:
            async for taken in dead_letters:
                names = message_ids(taken.dead_letter)
                if not taken.is_duplicate and name in (taken.dead_letter.request_id, *names):
                    found.append(_dead_letter(taken.dead_letter, name, names))
    except AccessRefusedError as error:
        not_asked.append(f"{topology.DEAD}: this user may not read it: {error}")
    except BrokerErrors as error:
        not_asked.append(f"{topology.DEAD}: {type(error).__name__}: the broker gave no answer, or has no such queue")
    return found


def _dead_letter(dead_letter: DeadLetter, name: str, names: tuple[str, ...]) -> Row:
    """Describe it: with the one message that was asked for, or with the first of the request's."""
    shown = (name,) if name in names else tuple(islice(names, _MOST_IDS))
    return {**summary(dead_letter), "messages": len(names), "messageIds": shown}


async def _logged(settings: Settings, ids: tuple[str, ...], not_asked: list[str]) -> list[Row]:
    """Give OMNI's log entries about these messages; adds to `not_asked` why there may be others."""
    try:
        client = OmniClient(access(settings), lambda: datetime.now(UTC))
    except SettingsError as error:
        not_asked.append(f"OMNI's logs: {error}")
        return []
    try:
        result = await client.look(ids)
    finally:
        await client.close()
    match result:
        case Answered(entries, incomplete):
            if incomplete:
                not_asked.append("OMNI's logs: there are more entries than fit into an answer")
            return [_log_entry(entry) for several in entries.values() for entry in several]
        case Forbidden(cause):
            not_asked.append(f"OMNI's logs: the credentials may not read them ({cause}): grant omni-failover:logs:read")
        case Unanswered(cause):
            not_asked.append(f"OMNI's logs: no answer ({cause})")
    return []


def _log_entry(entry: LogEntry) -> Row:
    status = entry.status
    return {
        "messageId": entry.message_id,
        "bulkId": entry.bulk_id,
        "sentAt": entry.sent_at and entry.sent_at.isoformat(),
        "status": {"groupId": status.group_id, "groupName": status.group_name, "id": status.id, "name": status.name},
    }


def _log_line(entry: Row) -> str:
    status = entry["status"]
    name = status["name"] or status["groupName"] or f"status group {status['groupId']}"
    return f"OMNI's logs    message {entry['messageId']}: {name}, sent at {entry['sentAt'] or 'an unknown time'}"


def _dead_line(row: Row) -> str:
    times = f"failed at {row['failedAt'] or 'an unknown time'}, after {row['attempts']} attempts"
    more = f" ({row['detail']})" if row["detail"] else ""
    request = f"{topology.DEAD:<14} request {row['requestId'] or '-'}"
    return f"{request}: {row['reason']}{more}, {times}, {row['messages']} messages"


@click.command("find", epilog="Example: omni-relay find order-8812")
@reads_settings
@click.argument("name", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
def command(name: str, as_json: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Show what is known about a request or message: the shared memory, OMNI's logs of 48 hours, and omni.dead.

    Never prints a text or an address. Exit status 1 if nothing is known.
    """
    sys.exit(asyncio.run(find_id(settings(), name, as_json=as_json)))
