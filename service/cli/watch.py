"""`omni-relay watch`: status events as they come."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any, get_args

import click

from service.adapters.output import discard_output, noticing_closed_output
from service.adapters.rabbitmq import BrokerErrors, RightMissingError, Session, connect, queues
from service.adapters.settings import Settings
from service.adapters.terminal import EventTable, read_json, read_row
from service.cli.options import reads_settings, settings
from service.core import topology
from service.core.printable import printable
from service.core.result.event import EventType
from service.core.value import dataclass


class _OutputClosedError(Exception):
    """The reader of standard output is gone; the pipe that broke is not the broker's connection."""


@dataclass(frozen=True, slots=True)
class EventSelection:
    """Events of one of these requests, messages and types; an empty part allows all."""

    request_ids: tuple[str, ...] = ()
    message_ids: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    """Routing keys, such as `message.accepted`."""

    def holds(self, body: bytes) -> bool:
        """Return whether an event is meant. Raises `ValueError` where it has to be read and is no event."""
        if not (self.request_ids or self.message_ids or self.types):
            return True
        try:
            event: dict[str, Any] = json.loads(body)
            data = event["data"]
            return (
                (not self.request_ids or data["requestId"] in self.request_ids)
                and (not self.message_ids or event.get("subject") in self.message_ids)
                and (not self.types or event["type"].removeprefix("omni.") in self.types)
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ValueError("is not a status event") from None


async def watch_events(settings: Settings, selection: EventSelection, *, as_json: bool) -> None:
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
            session = await connect(settings.rabbitmq_urls)
            try:
                await _follow(session, selection, as_json=as_json)
            finally:
                await session.close()
    except (asyncio.CancelledError, _OutputClosedError) as error:
        if isinstance(error, asyncio.CancelledError) and not closed.is_set():
            raise
        discard_output()
        return
    raise ConnectionResetError("the broker closed the connection")


async def _follow(session: Session, selection: EventSelection, *, as_json: bool) -> None:
    table = EventTable()
    if not as_json:
        _written(table.head)
    try:
        async for body in queues.status_events(session):
            try:
                if selection.holds(body):
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


def _event_types(_ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """Give whole routing keys: a last part stands for all that end with it."""
    chosen: list[str] = []
    for one in given:
        name = one.removeprefix("omni.")
        found = [known for known in get_args(EventType) if name in (known, known.partition(".")[2])]
        if not found:
            raise click.BadParameter(f"{one!r} is none of {', '.join(get_args(EventType))}")
        chosen += found
    return tuple(chosen)


@click.command("watch")
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
        asyncio.run(watch_events(settings(), EventSelection(**selection), as_json=as_json))
