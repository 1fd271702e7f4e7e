"""The command line. Commands import what they need when they run: `--help` must not wait for it."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from service import __version__
from service.adapters.rabbitmq import AccessRefusedError, BrokerErrors, RightMissingError, TopologyError
from service.adapters.settings import Settings, SettingsError, SettingsSource, named_env_file
from service.cli.sandbox import SANDBOX_HELP
from service.core.printable import printable
from service.core.result.dead_letter import REASONS, Selection

_FAULT = 1
_DIGITS = 9


def _remember(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    ctx.find_root().obj = value or ctx.find_root().obj


_reads_settings = click.option(
    "--env-file",
    metavar="FILE",
    expose_value=False,
    callback=_remember,
    help="Read settings that the environment does not have from FILE, as if RELAY_ENV_FILE named it.",
)


def _env_file() -> str | None:
    """Give the env file that the command line names, before the command or behind it."""
    named: str | None = click.get_current_context().find_root().obj
    return named


def _source() -> SettingsSource:
    return SettingsSource(os.environ, _env_file())


def _settings() -> Settings:
    return _source().load()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@_reads_settings
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
    except (RightMissingError, AccessRefusedError) as error:
        _say(str(error))
        sys.exit(_FAULT)
    except (TopologyError, *BrokerErrors) as error:
        _say(f"{type(error).__name__}: {error}" if isinstance(error, TopologyError | OSError) else type(error).__name__)
        sys.exit(_FAULT)


@commands.command()
@_reads_settings
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Workers on this machine.")
@click.option("--number", type=int, hidden=True, help="Which of several this is.")
@click.option("--listener", type=int, hidden=True, help="Descriptor of the operations port's socket.")
def worker(processes: int, number: int | None, listener: int | None) -> None:
    """Take send requests from RabbitMQ until asked to stop."""
    from service.adapters.logging import configure_logs

    settings = _settings()
    configure_logs(settings.log_format, settings.log_level, settings.log_lines_per_second, process=number)
    if processes > 1:
        from service.worker.supervisor import supervise

        sys.exit(asyncio.run(supervise(settings, processes, named_env_file(os.environ, _env_file()))))
    from service.worker.app import work

    asyncio.run(work(settings, _source(), listener))


@commands.command(help=SANDBOX_HELP)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True, help="0 picks a free one.")
@click.option("--api-key", help="Accept this key alone.")
@click.option("--seed", type=int, help="Make faults with a probability repeatable.")
@click.option(
    "--allow-host", "hosts", multiple=True, metavar="NAME", help="A name by which it is reached. May be repeated."
)
def sandbox(host: str, port: int, api_key: str | None, seed: int | None, hosts: tuple[str, ...]) -> None:
    """Serve until SIGINT or SIGTERM."""
    from service.sandbox import run

    run(host, port, api_key, seed, hosts)


@commands.command()
@_reads_settings
@click.option("--keep", is_flag=True, help="Leave it running until Ctrl-C.")
def demo(keep: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Run the whole system on this machine and show what happens to sample requests."""
    from service.demo.run import show

    is_configured = os.environ.get("RELAY_RABBITMQ_URL") or named_env_file(os.environ, _env_file())
    settings = _settings() if is_configured else None
    try:
        sys.exit(asyncio.run(show(settings, keep=keep)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("stopped everything that was started")


@commands.command()
@_reads_settings
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def send(files: tuple[Path, ...]) -> None:
    """Publish send requests from JSON or JSON Lines FILES, or from standard input.

    Returns when the broker has confirmed every one.
    """
    from service.cli.send import send_files

    sys.exit(asyncio.run(send_files(_settings(), files)))


@commands.command()
@_reads_settings
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True), default="-")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@click.option("--content-type", help="As the request is published. By default it is told by the name or the contents.")
def explain(file: str, as_json: bool, content_type: str | None) -> None:  # noqa: FBT001 - click passes it by name
    """Show what becomes of the request in FILE, or in standard input. Nothing is sent.

    Prints each fault, each call as it would be posted, the addresses, the parts of the SMS, schedule and deadline.
    Exit status 1 if some part of it would not be posted.
    """
    from service.cli.explain import explain_file

    sys.exit(explain_file(_settings(), file, content_type, as_json=as_json))


@commands.command()
@_reads_settings
@click.option("--json", "as_json", is_flag=True, help="One event a line, as it is on the wire.")
def watch(as_json: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Follow status events until Ctrl-C."""
    from service.cli.watch import watch_events

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(watch_events(_settings(), as_json=as_json))


@commands.group()
def dead() -> None:
    """Look at the dead letters, send them again, drop them."""


class _Duration(click.ParamType[timedelta]):
    """A number with a unit: 90s, 15m, 2h, 3d."""

    name = "duration"
    _UNITS = MappingProxyType({"s": 1, "m": 60, "h": 3600, "d": 86400})

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        number, unit = str(value)[:-1], str(value)[-1:]
        if not (number.isascii() and number.isdigit()) or len(number) > _DIGITS or unit not in self._UNITS:
            self.fail(f"{value!r} is not a duration such as 90s, 15m, 2h or 3d", param, ctx)
        return timedelta(seconds=int(number) * self._UNITS[unit])


_SELECTING = (
    _reads_settings,
    click.option("--reason", "reasons", multiple=True, type=click.Choice(REASONS), help="May be repeated."),
    click.option("--request-id", "request_ids", multiple=True, help="May be repeated."),
    click.option("--older-than", type=_Duration(), help="Such as 90s, 15m, 2h, 3d."),
    click.option("--newer-than", type=_Duration()),
    click.option("--limit", type=click.IntRange(min=1), help="So many at most, oldest first."),
)
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Only tell how many.")


def _selecting(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_SELECTING):
        command = option(command)
    return command


@dead.command("list")
@_selecting
@click.option("--json", "as_json", is_flag=True, help="One letter a line.")
def list_(limit: int | None, as_json: bool, **selection: Any) -> None:  # noqa: FBT001, ANN401 - click's own way
    """List dead letters. They stay where they are."""
    from service.cli.dead import Choice, list_dead

    asyncio.run(list_dead(_settings(), Choice(Selection(**selection), limit), as_json=as_json))


@dead.command()
@_selecting
@click.argument("request_id", required=False)
def show(limit: int | None, request_id: str | None, **selection: Any) -> None:  # noqa: ANN401 - click's own way
    """Print dead letters whole: headers, and the body, which holds personal data."""
    from service.cli.dead import Choice, show_dead

    if request_id:
        selection["request_ids"] = (*selection["request_ids"], request_id)
    if not asyncio.run(show_dead(_settings(), Choice(Selection(**selection), limit))):
        _say("no such dead letter")
        sys.exit(_FAULT)


@dead.command()
@_selecting
@_DRY_RUN
@click.option("--rate", type=click.FloatRange(min=0.01), default=50.0, show_default=True, help="Letters a second.")
def replay(limit: int | None, dry_run: bool, rate: float, **selection: Any) -> None:  # noqa: FBT001, ANN401 - click's own way
    """Send dead letters again. OMNI is asked about each message first, and has those it knows already."""
    from service.cli.dead import Choice, replay_dead

    asyncio.run(replay_dead(_settings(), Choice(Selection(**selection), limit), rate=rate, dry_run=dry_run))


@dead.command()
@_selecting
@_DRY_RUN
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(limit: int | None, dry_run: bool, yes: bool, **selection: Any) -> None:  # noqa: FBT001, ANN401 - click's own way
    """Drop dead letters for good."""
    from service.cli.dead import Choice, purge_dead

    if not (dry_run or yes):
        click.confirm("Drop these dead letters for good?", abort=True)
    asyncio.run(purge_dead(_settings(), Choice(Selection(**selection), limit), dry_run=dry_run))


@commands.command()
@_reads_settings
def check() -> None:
    """Check configuration, broker, topology and OMNI credentials; a line each."""
    from service.cli.check import check_all

    sys.exit(asyncio.run(check_all(_settings())))


def _say(text: str) -> None:
    click.echo("\n".join(map(printable, f"omni-relay: {text}".split("\n"))), err=True)
