"""`omni-relay dead`: the options of its commands; `dead_letters` does the work."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import click

from service.cli.dead_letter_queue import Choice
from service.cli.dead_letters import list_dead, purge_dead, replay_dead, show_dead
from service.cli.options import FAULT, Duration, reads_settings, say, settings
from service.core.result.dead_letter import REASONS, Selection


@click.group("dead", epilog="Example: omni-relay dead list --reason failed --newer-than 2h")
def command() -> None:
    """List, show, replay and purge the dead letters."""


_SELECTING = (
    reads_settings,
    click.option("--reason", "reasons", multiple=True, type=click.Choice(REASONS), help="May be repeated."),
    click.option("--request-id", "request_ids", multiple=True, help="May be repeated."),
    click.option("--older-than", type=Duration(), help="Such as 90s, 15m, 2h, 3d."),
    click.option("--newer-than", type=Duration()),
    click.option("--limit", type=click.IntRange(min=1), help="So many at most, oldest first."),
)
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Only show how many.")


def _selecting(of: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_SELECTING):
        of = option(of)
    return of


@command.command("list", epilog="Example: omni-relay dead list --reason failed --newer-than 2h")
@_selecting
@click.option("--json", "as_json", is_flag=True, help="One letter a line.")
def _list(limit: int | None, as_json: bool, **selection: Any) -> None:  # noqa: FBT001, ANN401 - click's own way
    """List dead letters. They stay where they are. Exit status 0 also if there are none."""
    asyncio.run(list_dead(settings(), Choice(Selection(**selection), limit), as_json=as_json))


@command.command("show", epilog="Example: omni-relay dead show order-8812")
@_selecting
@click.argument("request_id", required=False)
def _show(limit: int | None, request_id: str | None, **selection: Any) -> None:  # noqa: ANN401 - click's own way
    """Print dead letters in full: headers, and the body, which holds personal data.

    Exit status 1 if there is no such dead letter.
    """
    if request_id:
        selection["request_ids"] = (*selection["request_ids"], request_id)
    if not asyncio.run(show_dead(settings(), Choice(Selection(**selection), limit))):
        say("no such dead letter")
        sys.exit(FAULT)


@command.command("replay", epilog="Example: omni-relay dead replay --reason failed --dry-run")
@_selecting
@_DRY_RUN
@click.option("--rate", type=click.FloatRange(min=0.01), default=50.0, show_default=True, help="Letters a second.")
def _replay(limit: int | None, dry_run: bool, rate: float, **selection: Any) -> None:  # noqa: FBT001, ANN401 - click's own way
    """Send dead letters again. Each message is first looked up in OMNI's logs, and not posted if it is there.

    Exit status 0 also if there is nothing to send.
    """
    asyncio.run(replay_dead(settings(), Choice(Selection(**selection), limit), rate=rate, dry_run=dry_run))


@command.command("purge", epilog="Example: omni-relay dead purge --older-than 30d --dry-run")
@_selecting
@_DRY_RUN
@click.option("--yes", is_flag=True, help="Do not ask.")
def _purge(limit: int | None, dry_run: bool, yes: bool, **selection: Any) -> None:  # noqa: FBT001, ANN401 - click's own way
    """Delete dead letters for good. Exit status 0 also if there is nothing to delete."""
    if not (dry_run or yes):
        click.confirm("Delete these dead letters for good?", abort=True)
    asyncio.run(purge_dead(settings(), Choice(Selection(**selection), limit), dry_run=dry_run))
