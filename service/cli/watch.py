"""`omni-relay watch`: status events as they come."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Collection
from typing import Final, get_args

import click

from service.adapters.output import discard_output, noticing_closed_output
from service.adapters.rabbitmq import BrokerErrors, RightMissingError, Session, queues
from service.adapters.settings import Settings
from service.adapters.terminal import EventTable, read_json, read_row
from service.cli.options import connect_broker, reads_settings, settings
from service.core import topology
from service.core.printable import printable
from service.core.result.delivery_report import ReportEventType
from service.core.result.event import EventType

_MOST_IDS: Final = 100_000


class _OutputClosedError(Exception):
    """The reader of standard output is gone; the pipe that broke is not the broker's connection."""


class EventFilter:
    """Which events are shown; an empty collection of ids or types allows all.

    A report does not name its request. So a message counts as one of a request's once an event of this run has named
    both.
    """

    def __init__(
        self, request_ids: Collection[str] = (), message_ids: Collection[str] = (), types: Collection[str] = ()
    ) -> None:
        self._request_ids = frozenset(request_ids)
        self._message_ids = frozenset(message_ids)
        self._types = frozenset(one.removeprefix("omni.") for one in types)
        self._of_requests: set[str] = set()

    def allows(self, body: bytes) -> bool:
        """Return whether an event is shown. Without a filter everything is shown."""
        if not (self._request_ids or self._message_ids or self._types):
            return True
        try:
            event = json.loads(body)
            type_, subject, request_id = event["type"], event.get("subject"), event["data"]["requestId"]
            named = {name for name in (subject, *event["data"].get("messageIds", ())) if isinstance(name, str)}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return False
        if self._request_ids:
            if request_id in self._request_ids:
                if len(self._of_requests) < _MOST_IDS:
                    self._of_requests.add(str(subject))
            elif request_id is not None or str(subject) not in self._of_requests:
                return False
        name = str(type_).removeprefix("omni.")
        is_type = not self._types or not self._types.isdisjoint({name, name.rpartition(".")[2]})
        return is_type and (not self._message_ids or not self._message_ids.isdisjoint(named))


async def watch_events(settings: Settings, filter_: EventFilter, *, as_json: bool) -> None:
    """Print events until the connection is lost, somebody interrupts, or the reader of a pipe is gone.

    Raises one of `BrokerErrors`, or `RightMissingError`.
    """
    task, closed = asyncio.current_task(), asyncio.Event()

    def end() -> None:
        closed.set()
        if task is not None:
            task.cancel()

    try:
        with noticing_closed_output(end):
            session = await connect_broker(settings)
            try:
                await _follow(session, filter_, as_json=as_json)
            finally:
                await session.close()
    except (asyncio.CancelledError, _OutputClosedError) as error:
        if isinstance(error, asyncio.CancelledError) and not closed.is_set():
            raise
        discard_output()
        return
    raise ConnectionResetError("the broker closed the connection")


async def _follow(session: Session, filter_: EventFilter, *, as_json: bool) -> None:
    table = EventTable()
    if not as_json:
        _written(table.head)
    try:
        async for body in queues.status_events(session):
            if not filter_.allows(body):
                continue
            try:
                _print(body, table, as_json=as_json)
            except ValueError as error:
                click.echo(printable(f"omni-relay: a message {error}"), err=True)
    except RightMissingError:
        raise
    except BrokerErrors as error:
        raise ConnectionError(f"cannot read from the exchange {topology.RESULTS}; a worker declares it") from error


def _print(body: bytes, table: EventTable, *, as_json: bool) -> None:
    """Print an event. Raises `ValueError` where it is none, or `_OutputClosedError`."""
    if as_json:
        line = read_json(body)
        _written(lambda: click.echo(line))
    else:
        row = read_row(body)
        _written(lambda: table.add(row))


def _written(write: Callable[[], None]) -> None:
    try:
        write()
    except BrokenPipeError:
        raise _OutputClosedError from None


_TYPES: Final = (*get_args(EventType), *get_args(ReportEventType))


def _event_types(_ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """Give whole routing keys: a last part stands for all that end with it."""
    chosen: list[str] = []
    for one in given:
        name = one.removeprefix("omni.")
        found = [known for known in _TYPES if name in (known, known.partition(".")[2])]
        if not found:
            raise click.BadParameter(f"{one!r} is none of {', '.join(_TYPES)}")
        chosen += found
    return tuple(chosen)


@click.command("watch", epilog="Example: omni-relay watch --type rejected --json")
@reads_settings
@click.option("--json", "as_json", is_flag=True, help="One event a line, as it is on the wire.")
@click.option("--request-id", "request_ids", multiple=True, metavar="ID", help="Of this request. May be repeated.")
@click.option("--message-id", "message_ids", multiple=True, metavar="ID", help="Of this message. May be repeated.")
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="TYPE",
    callback=_event_types,
    help="Such as accepted, or request.rejected. May be repeated.",
)
def command(as_json: bool, **selection: tuple[str, ...]) -> None:  # noqa: FBT001 - click passes it by name
    """Follow status events until Ctrl-C, or until the reader of a pipe ends.

    Needs more rights than a worker: configure, write and read amq.gen-*, and read omni.results.
    """
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(watch_events(settings(), EventFilter(**selection), as_json=as_json))
