"""The command line. Commands import what they need when they run: `--help` must not wait for it."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

import click

from service import __version__
from service.edges.rabbitmq import BrokerErrors, TopologyError
from service.edges.settings import Settings, SettingsError, load_settings

_FAULT = 1


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="omni-relay")
def commands() -> None:
    """Send requests from RabbitMQ to OMNI, status events back. Settings: environment variables RELAY_…."""


def main() -> None:
    """Run a command. Exit status: 0 asked to stop, 1 fault, 2 wrong usage, 78 wrong configuration."""
    try:
        commands(prog_name="omni-relay")
    except SettingsError as error:
        _say(str(error))
        sys.exit(os.EX_CONFIG)
    except (TopologyError, *BrokerErrors) as error:
        _say(f"{type(error).__name__}: {error}" if isinstance(error, TopologyError | OSError) else type(error).__name__)
        sys.exit(_FAULT)


@commands.command()
def worker() -> None:
    """Take send requests from RabbitMQ until asked to stop."""
    from service.app.worker import work

    _with_logs(work)


@commands.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True, help="0 picks a free one.")
@click.option("--api-key", help="Accept this key alone.")
@click.option("--seed", type=int, help="Make the faults that are drawn by chance repeatable.")
def sandbox(host: str, port: int, api_key: str | None, seed: int | None) -> None:
    """Simulate the OMNI HTTP API, for development and tests."""
    from service.sandbox import run

    run(host, port, api_key, seed)


@commands.command()
@click.option("--keep", is_flag=True, help="Leave it running until Ctrl-C.")
def demo(keep: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Run the whole system on this machine and show what happens to sample requests."""
    from service.demo.show import show

    try:
        sys.exit(asyncio.run(show(keep=keep)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("stopped everything that was started")


@commands.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def send(files: tuple[Path, ...]) -> None:
    """Publish send requests from JSON or JSON Lines FILES, or from standard input.

    Returns when the broker has confirmed every one.
    """
    from service.app.send import send_files

    sys.exit(asyncio.run(send_files(load_settings(), files)))


@commands.command()
@click.option("--json", "as_json", is_flag=True, help="One event a line, as it is on the wire.")
def watch(as_json: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Follow status events until Ctrl-C."""
    from service.app.watch import watch_events

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(watch_events(load_settings(), as_json=as_json))


@commands.command()
def check() -> None:
    """Check configuration, broker, topology and OMNI credentials; a line each."""
    from service.app.check import check_all

    sys.exit(asyncio.run(check_all(load_settings())))


def _with_logs(run: Callable[[Settings], Coroutine[None, None, None]]) -> None:
    from service.edges.log import configure_logs

    settings = load_settings()
    configure_logs(settings.log_format, settings.log_level)
    asyncio.run(run(settings))


def _say(text: str) -> None:
    click.echo(f"omni-relay: {text}", err=True)
