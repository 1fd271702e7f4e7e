"""`omni-relay send`: publishes requests from files, and waits until the broker has confirmed each.

A file holds a JSON value, which is a request or a list of requests, or JSON Lines with one request per line. The worker
checks the requests, not this command, so a fault is reported by an event as for any other producer.
"""

import asyncio
import json
import sys
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import track

from service.adapters.rabbitmq import Session, UnroutableError, connect
from service.adapters.settings import Settings
from service.cli.options import reads_settings, settings
from service.core.delivery import Publication
from service.core.omni.charset import to_utf8
from service.core.printable import printable
from service.core.request.body import is_request_id
from service.core.topology import NORMAL, URGENT, Lane

_IN_FLIGHT: Final = 200


class GivenTwiceError(ValueError):
    """A JSON object has a name twice."""


async def send_files(settings: Settings, files: tuple[Path, ...], lane: Lane) -> int:
    """Publish every request of the files, or of standard input; return the exit status."""
    try:
        requests = [request for name, text in read_texts(files) for request in read_requests(name, text)]
    except ValueError as error:
        click.echo(printable(f"omni-relay: {error}"), err=True)
        return 1
    session = await connect(settings.rabbitmq_urls)
    try:
        await _publish(session, requests, lane)
    except UnroutableError:
        click.echo(
            "omni-relay: no queue takes send requests; start a worker once, it declares what is needed", err=True
        )
        return 1
    finally:
        await session.close()
    click.echo(f"{len(requests)} request{'s'[: len(requests) != 1]} confirmed by the broker", err=True)
    return 0


def read_requests(name: str, text: str) -> list[object]:
    """Split a text into requests. Raises `ValueError` that names the place."""
    if not text.strip():
        raise ValueError(f"{name}: is empty")
    try:
        whole = _read(text)
    except GivenTwiceError as error:
        raise ValueError(f"{name}: {error}") from None
    except ValueError as error:
        if "\n" not in text.strip():
            raise ValueError(f"{name}: {error}") from None
        return list(_lines(name, text))
    return whole if isinstance(whole, list) else [whole]


def _lines(name: str, text: str) -> Iterator[object]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield _read(line)
            except ValueError as error:
                raise ValueError(f"{name}, line {number}: is neither JSON nor JSON Lines: {error}") from None


def _read(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_each_name_once)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _each_name_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse an object with a name twice: it would be published with the last value only, without a warning."""
    read = dict(pairs)
    if len(read) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise GivenTwiceError(f"{json.dumps(twice)} is given twice")
    return read


def read_texts(files: tuple[Path, ...]) -> Iterator[tuple[str, str]]:
    """Yield the name and text of each file, or of standard input. Raises `ValueError` that names the file."""
    if not files:
        yield _decoded("standard input", sys.stdin.buffer.read())
    for file in files:
        yield _decoded(str(file), file.read_bytes())


def _decoded(name: str, body: bytes) -> tuple[str, str]:
    """Decode a file in UTF-8 or UTF-16, which some shells write. Raises `ValueError` that names the file."""
    try:
        return name, to_utf8(body, None).decode()
    except UnicodeDecodeError:
        raise ValueError(f"{name}: is not in UTF-8") from None


async def _publish(session: Session, requests: list[object], lane: Lane) -> None:
    """Publish in groups, so that the number of unconfirmed publications is bounded."""
    bar = track(range(0, len(requests), _IN_FLIGHT), "sending", console=Console(stderr=True), transient=True)
    for start in bar if sys.stderr.isatty() else range(0, len(requests), _IN_FLIGHT):
        part = requests[start : start + _IN_FLIGHT]
        await asyncio.gather(*(session.publish(publication) for publication in _publications(part, lane)))


def _publications(requests: Iterable[object], lane: Lane) -> Iterator[Publication]:
    for request in requests:
        given = request.get("requestId") if isinstance(request, dict) else None
        yield Publication(
            lane.requests,
            "send",
            json.dumps(request, ensure_ascii=False).encode(),
            "application/json",
            given if is_request_id(given) else str(uuid.uuid4()),
            timestamp=datetime.now(UTC),
        )


@click.command("send")
@reads_settings
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--urgent", is_flag=True, help="Use the urgent lane: for one-time passwords, not for campaigns.")
def command(files: tuple[Path, ...], urgent: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Publish send requests from JSON or JSON Lines FILES, or from standard input.

    Returns when the broker has confirmed every one.
    """
    sys.exit(asyncio.run(send_files(settings(), files, URGENT if urgent else NORMAL)))
