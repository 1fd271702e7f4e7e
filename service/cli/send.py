"""`omni-relay send`: publishes the requests of files, and waits until the broker has confirmed each.

1. Every row is checked as the worker would check it. With a fault nothing is sent.
2. The rows are published in groups. How far this has come is recorded after each group; see `send_progress`.

Both steps read the files from the beginning, so neither keeps more than a group of rows in memory.
"""

import asyncio
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, get_args

import click

from service.adapters.rabbitmq import UnroutableError
from service.adapters.settings import Settings
from service.cli.options import FAULT, connect_broker, reads_settings, say, settings
from service.cli.rows import Format, Row, Source, decode
from service.cli.send_check import GROUP, MOST_SHOWN, Faults, Input, InputError, body_of, check, progress_bar
from service.cli.send_progress import Progress, ProgressError
from service.core.delivery import Publication
from service.core.printable import printable
from service.core.request.body import is_request_id
from service.core.topology import NORMAL, URGENT, Lane

_STANDARD_INPUT: Final = "standard input"


async def publish(settings: Settings, requests: Input, total: int, progress: Progress | None, state: object) -> int:
    """Publish the rows that are not yet confirmed; return how many rows are confirmed then.

    `state`: of the input when it was checked. On SIGINT or SIGTERM it ends behind the group in flight; a second signal
    does not wait for that. Raises `InputError`, `ProgressError`, `UnroutableError`, or one of `BrokerErrors`.
    """
    # Without the fast path the broker's own words about a refusal are known; with it ten thousand rows take a second.
    session = await connect_broker(settings, fast=total > GROUP)
    stopping = asyncio.Event()
    current = asyncio.current_task()

    def stop() -> None:
        if stopping.is_set() and current is not None:
            current.cancel()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    run = progress.run if progress else uuid.uuid4()
    waiting = (
        (number, row) for number, row in enumerate(requests.rows()) if not (progress and progress.is_sent(number))
    )
    sent = progress.count if progress else 0
    try:
        with progress_bar("sending") as bar:
            task = bar.add_task("sending", total=total, completed=sent)
            while not stopping.is_set() and (group := list(islice(waiting, GROUP))):
                if requests.state() != state:
                    raise InputError("the input was changed while it was sent")
                publications = {number: _publication(run, number, row, requests.lane) for number, row in group}
                failed = await session.publish_all([*publications.values()])
                lost = {id(publication) for publication, _ in failed}
                confirmed = [number for number, one in publications.items() if id(one) not in lost]
                if progress:
                    progress.record(confirmed)
                for _, error in failed:
                    if isinstance(error, ConnectionResetError):
                        raise ConnectionResetError(f"{error} ({session.broken.cause})")
                    raise error
                sent += len(confirmed)
                bar.update(task, completed=sent)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        await session.close()
    return sent


def _publication(run: uuid.UUID, number: int, row: Row, lane: Lane) -> Publication:
    given = row.value.get("requestId") if isinstance(row.value, dict) else None
    return Publication(
        lane.requests,
        "send",
        body_of(row.value),
        "application/json",
        given if is_request_id(given) else str(uuid.uuid5(run, str(number))),
        timestamp=datetime.now(UTC),
    )


def send(settings: Settings, requests: Input, progress_file: Path | None, *, dry_run: bool, unchecked: bool) -> int:
    """Check and publish the requests; return the exit status. Raises `ProgressError`, or one of `BrokerErrors`."""
    progress, state = None, requests.state()
    if progress_file is not None and progress_file.exists() and not dry_run:
        progress = Progress.open(progress_file, requests.digest())
    if progress is not None and progress.rows:
        say(f"continuing behind {progress.count} of {_counted(progress.rows)}, as {progress.path} says")
        return _send(settings, requests, progress.rows, progress, state)
    found = check(requests, unchecked=unchecked)
    if found.faulty:
        _report_faulty(found)
        return FAULT
    if dry_run:
        say(f"{_counted(found.rows)} would be sent")
        return 0
    if progress_file is not None and found.rows > GROUP:
        progress = progress or Progress.open(progress_file, requests.digest())
        progress.rows = found.rows
        progress.record(())
    return _send(settings, requests, found.rows, progress, state)


def _send(settings: Settings, requests: Input, total: int, progress: Progress | None, state: object) -> int:
    sent = 0
    try:
        sent = asyncio.run(publish(settings, requests, total, progress, state))
    except UnroutableError:
        say("no queue takes send requests; start a worker once, it declares what is needed")
    except (InputError, ProgressError) as error:
        say(str(error))
    except asyncio.CancelledError:
        say("interrupted before the broker had confirmed the last requests")
    finally:
        if progress is not None and progress.count < total:
            say(
                f"{progress.count} of {_counted(total)} are confirmed by the broker. Run the same command again to "
                f"send the others; delete {progress.path} to send all of them"
            )
    if sent < total:
        if progress is None:
            say(f"{sent} of {_counted(total)} are confirmed by the broker")
        return FAULT
    if progress is not None:
        progress.finish()
    click.echo(f"{_counted(sent)} confirmed by the broker", err=True)
    return 0


def _report_faulty(found: Faults) -> None:
    if found.faulty > MOST_SHOWN:
        say(f"and {found.faulty - MOST_SHOWN} more rows with faults")
    say(
        f"nothing was sent: {found.faulty} of {_counted(found.rows)} cannot be sent. Correct them, or publish all "
        "with --unchecked: the worker then reports each fault by an event"
    )


def _counted(number: int) -> str:
    return f"{number} request{'s'[: number != 1]}"


def _sources(files: Sequence[Path], life: ExitStack) -> Iterator[Source]:
    """Yield the files. Standard input and pipes are copied to a file, so that they can be read twice."""
    for file in files:
        if file.is_file():
            yield Source(str(file), file)
        else:
            with file.open("rb") as pipe:
                yield Source(str(file), _copy(pipe, life))
    if not files:
        yield Source(_STANDARD_INPUT, _copy(sys.stdin.buffer, life))


def _copy(given: BinaryIO, life: ExitStack) -> Path:
    copy = Path(life.enter_context(tempfile.TemporaryDirectory(prefix="omni-relay-"))) / "input"
    try:
        with copy.open("wb") as written:
            shutil.copyfileobj(given, written)
    except OSError as error:
        raise InputError(f"cannot be copied to {copy} ({error.strerror}): TMPDIR names another place") from None
    return copy


def _read_template(file: Path) -> Mapping[str, object]:
    try:
        template = decode(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise click.BadParameter(f"{printable(str(file))}: {printable(str(error))}", param_hint="--template") from None
    if not isinstance(template, dict):
        raise click.BadParameter(f"{file} must be one JSON object", param_hint="--template")
    return template


@click.command("send", epilog="Example: omni-relay send --template offer.json customers.csv")
@reads_settings
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--format", "format_", type=click.Choice(get_args(Format)), help="By default the name or the content decides."
)
@click.option(
    "--template",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A JSON object with fields of every request, unless its row has them.",
)
@click.option("--urgent", is_flag=True, help="Use the urgent lane: for one-time passwords, not for campaigns.")
@click.option("--dry-run", is_flag=True, help="Check the requests, and send nothing.")
@click.option("--unchecked", is_flag=True, help="Send also requests with faults: the worker reports each by an event.")
@click.option(
    "--progress-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"Where the progress with more than {GROUP} requests is recorded. By default beside the first of FILES.",
)
def command(  # noqa: PLR0913, PLR0917 - click passes them by name
    files: tuple[Path, ...],
    format_: Format | None,
    template: Path | None,
    urgent: bool,  # noqa: FBT001 - the same
    dry_run: bool,  # noqa: FBT001 - the same
    unchecked: bool,  # noqa: FBT001 - the same
    progress_file: Path | None,
) -> None:
    """Publish send requests from FILES, or from standard input: JSON, JSON Lines, XML or CSV.

    In CSV the first row names the field of each column, with dots for nesting: phoneNumber,sms.text.

    All requests are checked first; with a fault nothing is sent. Returns when the broker has confirmed every one. After
    an interruption, the same command sends those that were not confirmed.
    """
    if progress_file is None and files and files[0].is_file():
        progress_file = files[0].with_name(f"{files[0].name}.progress")
    with ExitStack() as life:
        fields = None if template is None else _read_template(template)
        try:
            requests = Input(tuple(_sources(files, life)), format_, fields, URGENT if urgent else NORMAL)
            status = send(settings(), requests, progress_file, dry_run=dry_run, unchecked=unchecked)
        except (InputError, ProgressError) as error:
            say(str(error))
            status = FAULT
    sys.exit(status)
