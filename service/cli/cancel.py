"""`omni-relay cancel`: an order to cancel what has not been posted yet, in the memory that all workers share."""

import asyncio
import secrets
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import click

from service.adapters.settings import Settings, SettingsError
from service.cli.options import FAULT, Duration, memory_fault, reads_settings, say, settings
from service.core.attempt.cancellation import (
    LIST,
    LONGEST,
    MOST_BYTES,
    MOST_CONDITIONS,
    MOST_ORDERS,
    VERSION,
    Change,
    Named,
    TooManyError,
    change_list,
    read_list,
    version_of,
    write_list,
)
from service.core.attempt.start_record import MemoryUnavailableError
from service.core.request.body import is_request_id
from service.core.request.identification import is_message_id

_TRIES: Final = 50
"""Times that the list may be changed by other commands in between."""
_LONGEST_TEXT: Final = 5000
"""Characters of a bulk id or of `NAME=VALUE`; metadata have at most 4 KiB."""


async def change_orders(settings: Settings, named: Named, seconds: float, *, undo: bool) -> Change:
    """Write orders into the shared memory. Raises `SettingsError`, `MemoryUnavailableError` or `TooManyError`."""
    if settings.memory_url is None:
        raise SettingsError("RELAY_MEMORY_URL: orders to cancel need a shared memory; see deploy/memory.md")
    try:
        from service.adapters.memory import connect  # noqa: PLC0415 - optional
    except ImportError:
        raise SettingsError("RELAY_MEMORY_URL: needs more to be installed: pip install 'omni-relay[memory]'") from None
    connection, _ = await connect(settings.memory_url.get_secret_value(), settings.ca_file, lambda _: None)
    try:
        orders = named.orders()
        for _ in range(_TRIES):
            text = await connection.get_changed(LIST, "", VERSION, MOST_BYTES)
            change = change_list(read_list(text), orders, await connection.time(), seconds, undo=undo)
            written = write_list(change.listed, secrets.token_hex(VERSION // 2))
            if await connection.replace(LIST, version_of(text), VERSION, written, change.seconds):
                return change
        raise click.ClickException("other commands change the orders at the same time; try again")
    finally:
        connection.close()


def describe(change: Change, *, undo: bool) -> str:
    """Describe what a command has done."""
    force = f"{_orders(change.in_force)} in force"
    if undo and not change.changed:
        return f"no such order was in force; {force}"
    if undo:
        return f"undone: {change.changed}; {force}"
    return f"given: {change.changed}; {force}. Workers apply it within two seconds"


def _orders(count: int) -> str:
    return "1 order is" if count == 1 else f"{count:,} orders are"


def _require(option: str, values: tuple[str, ...], is_valid: Callable[[str], bool]) -> None:
    """Refuse what nothing can have, so that a typing error does not look like an order."""
    for value in values:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise click.UsageError(f"{option}: must be UTF-8") from None
        if not is_valid(value):
            raise click.UsageError(f"{option}: is empty, too long, or not NAME=VALUE")


@click.command("cancel", epilog="Example: omni-relay cancel --bulk-id spring-campaign --for 48h")
@reads_settings
@click.option("--request-id", "request_ids", multiple=True, help="May be repeated: any of them.")
@click.option("--message-id", "message_ids", multiple=True, help="May be repeated: any of them.")
@click.option("--bulk-id", "bulk_ids", multiple=True, help="As in the request. May be repeated: any of them.")
@click.option("--metadata", multiple=True, metavar="NAME=VALUE", help="May be repeated: all of them.")
@click.option("--for", "duration", type=Duration(), default="48h", show_default=True, help="Such as 90s, 15m, 2h, 3d.")
@click.option("--undo", is_flag=True, help="End the order that was given with the same options.")
def command(duration: timedelta, undo: bool, **conditions: tuple[str, ...]) -> None:  # noqa: FBT001 - click's own way
    """Cancel messages that are not posted yet: in the queue, in a delay queue, or held until their sendAt.

    Options of different kinds have to hold together. The order also concerns requests that are published later, until
    it ends or is undone. Each message ends in message.cancelled; one that may have been posted never does.

    Exit status 1 if the memory cannot be used, or if there was nothing to undo.
    """
    named = Named(**conditions)
    _require("--request-id", named.request_ids, is_request_id)
    _require("--message-id", named.message_ids, is_message_id)
    _require("--bulk-id", named.bulk_ids, lambda one: 0 < len(one) <= _LONGEST_TEXT)
    _require("--metadata", named.metadata, lambda one: "=" in one and len(one) <= _LONGEST_TEXT)
    if not named.count():
        raise click.UsageError("name messages: --request-id, --message-id, --bulk-id or --metadata")
    if named.count() > MOST_ORDERS or len(set(named.metadata)) > MOST_CONDITIONS - 3:
        raise click.UsageError(f"these are more than {MOST_ORDERS:,} orders, or more than 13 metadata")
    if not 0 < duration.total_seconds() <= LONGEST:
        raise click.UsageError("--for: must be between a second and 366 days")
    try:
        change = asyncio.run(change_orders(settings(), named, duration.total_seconds(), undo=undo))
    except MemoryUnavailableError as error:
        say(f"RELAY_MEMORY_URL: the memory {memory_fault(error)}. It is not known whether the order was given")
        sys.exit(FAULT)
    except TooManyError as error:
        say(f"{_orders(error.count)} in force, and no more fit: undo some, or name a bulk id or metadata instead")
        sys.exit(FAULT)
    click.echo(describe(change, undo=undo))
    sys.exit(FAULT if undo and not change.changed else 0)
