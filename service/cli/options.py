"""Options and output that several commands share."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from service.adapters.settings import Settings, SettingsSource, named_env_file
from service.core.printable import printable

FAULT = 1
"""Exit status."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _remember(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    ctx.find_root().obj = value or ctx.find_root().obj


def reads_settings(command: _Command) -> _Command:
    """Add the option `--env-file`, before or behind the command's name."""
    return click.option(
        "--env-file",
        metavar="FILE",
        expose_value=False,
        callback=_remember,
        help="Read settings that the environment does not have from FILE, as if RELAY_ENV_FILE named it.",
    )(command)


def env_file() -> str | None:
    """Return the env file that the command line or the environment names."""
    named: str | None = click.get_current_context().find_root().obj
    return named_env_file(os.environ, named)


def source() -> SettingsSource:
    """Return where the settings come from."""
    return SettingsSource(os.environ, click.get_current_context().find_root().obj)


def settings() -> Settings:
    """Read the settings. Raises `SettingsError`."""
    return source().load()


def say(text: str) -> None:
    """Print to standard error, each line without control characters."""
    click.echo("\n".join(map(printable, f"omni-relay: {text}".split("\n"))), err=True)
