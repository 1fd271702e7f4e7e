"""`omni-relay watch`: prints status events as they arrive."""

import asyncio
import contextlib

import click

from service.adapters.rabbitmq import BrokerErrors, RightMissingError, connect, queues
from service.adapters.settings import Settings
from service.adapters.terminal import EventTable, read_json, read_row
from service.cli.options import reads_settings, settings
from service.core import topology
from service.core.printable import printable


async def watch_events(settings: Settings, *, as_json: bool) -> None:
    """Print events until the connection is lost or the user interrupts.

    Raises one of `BrokerErrors`, or `RightMissingError`.
    """
    session = await connect(settings.rabbitmq_urls)
    table = EventTable()
    if not as_json:
        table.head()
    try:
        async for body in queues.status_events(session):
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
def command(as_json: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Follow status events until Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(watch_events(settings(), as_json=as_json))
