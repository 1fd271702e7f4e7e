"""`omni-relay watch`: prints status events as they arrive."""

import asyncio
import contextlib
import json
from collections.abc import Collection
from typing import Final

import click

from service.adapters.rabbitmq import BrokerErrors, RightMissingError, connect, queues
from service.adapters.settings import Settings
from service.adapters.terminal import EventTable, read_json, read_row
from service.cli.options import reads_settings, settings
from service.core import topology
from service.core.printable import printable

_MOST_IDS: Final = 100_000


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
        return is_type and (not self._message_ids or subject in self._message_ids)


async def watch_events(settings: Settings, filter_: EventFilter, *, as_json: bool) -> None:
    """Print events until the connection is lost or the user interrupts.

    Raises one of `BrokerErrors`, or `RightMissingError`.
    """
    session = await connect(settings.rabbitmq_urls)
    table = EventTable()
    if not as_json:
        table.head()
    try:
        async for body in queues.status_events(session):
            if not filter_.allows(body):
                continue
            try:
                if as_json:
                    click.echo(read_json(body))
                else:
                    table.add(read_row(body))
            except ValueError as error:
                click.echo(printable(f"omni-relay: a message {error}"), err=True)
    except RightMissingError:
        raise
    except BrokerErrors as error:
        raise ConnectionError(f"cannot read from the exchange {topology.RESULTS}; a worker declares it") from error
    finally:
        await session.close()
    raise ConnectionResetError("the broker closed the connection")


@click.command("watch")
@reads_settings
@click.option("--json", "as_json", is_flag=True, help="One event a line, as it is on the wire.")
@click.option("--request-id", "request_ids", multiple=True, help="May be repeated.")
@click.option("--message-id", "message_ids", multiple=True, help="May be repeated.")
@click.option("--type", "types", multiple=True, help="Such as message.accepted, or delivered. May be repeated.")
def command(
    as_json: bool,  # noqa: FBT001 - click passes it by name
    request_ids: tuple[str, ...],
    message_ids: tuple[str, ...],
    types: tuple[str, ...],
) -> None:
    """Follow status events until Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(watch_events(settings(), EventFilter(request_ids, message_ids, types), as_json=as_json))
