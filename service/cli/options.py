"""Options and output that several commands share."""

import os
from collections.abc import Callable
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final, TypeVar

import click

from service.adapters.rabbitmq import Session, connect, connect_cause
from service.adapters.settings import Settings, SettingsSource, named_env_file
from service.adapters.tls import untrusted
from service.core.attempt.start_record import MemoryCause, MemoryUnavailableError
from service.core.printable import printable
from service.worker.broker_tokens import broker_tokens

FAULT = 1
"""Exit status."""

_DIGITS: Final = 9
_UNITS: Final = MappingProxyType({"s": 1, "m": 60, "h": 3600, "d": 86400})
_NO_BROKER: Final = {
    "no_token": "no access token; see RELAY_RABBITMQ_OAUTH_TOKEN_URL and its log",
    "token_refused": "refuses the access token; see its log, and what RELAY_RABBITMQ_OAUTH_SCOPE must be",
    "untrusted_certificate": "the certificate is not trusted; RELAY_CA_FILE adds an authority",
    "client_certificate_refused": "refuses the client certificate; see certfile in RELAY_RABBITMQ_URL",
    "login_refused": "refuses user and password, or the client certificate; see RELAY_RABBITMQ_URL",
    "access_refused": "lacks a right; `omni-relay check` names it",
    "mechanism_refused": "does not offer the URL's auth; see RELAY_RABBITMQ_URL and the broker's plugins",
    "virtual_host_refused": "refuses the virtual host, which must exist and be allowed; see RELAY_RABBITMQ_URL",
    "no_connection": "no connection; see RELAY_RABBITMQ_URL, DNS and firewall",
}

_NO_MEMORY: Final[dict[MemoryCause, str]] = {
    "no_connection": "no connection; see RELAY_MEMORY_URL, DNS and firewall",
    "timeout": "does not answer within half a second",
    "login_refused": "refuses user and password; see RELAY_MEMORY_URL",
    "not_permitted": "does not allow this user what a worker needs; see deploy/memory.md",
    "untrusted_certificate": "the certificate is not trusted; RELAY_CA_FILE adds an authority",
    "full": "has no room; give it more memory",
    "read_only": "is a replica; RELAY_MEMORY_URL must name the primary",
    "changed": "is being failed over",
    "refused": "answers with an error; see its own log",
}

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


async def connect_broker(settings: Settings, *, fast: bool = False) -> Session:
    """Open one session, see `connect`. Raises one of `BrokerErrors`."""
    return await connect(settings.rabbitmq_urls, fast=fast, tokens=broker_tokens(settings))


def say(text: str) -> None:
    """Print to standard error, each line without control characters."""
    click.echo("\n".join(map(printable, f"omni-relay: {text}".split("\n"))), err=True)


def broker_fault(error: BaseException) -> str:
    """Describe why a broker could not be reached, and what to look at."""
    text = _NO_BROKER[connect_cause(error)]
    detail = untrusted(error) or (error if isinstance(error, OSError) else None)  # names and addresses, no password
    return f"{text}: {detail}" if detail else text


def memory_fault(error: MemoryUnavailableError) -> str:
    """Describe why the shared memory could not be used, and what to look at."""
    text = _NO_MEMORY[error.cause]
    return f"{text}: {error.detail}" if error.detail else text


class Duration(click.ParamType[timedelta]):
    """A number with a unit: 90s, 15m, 2h, 3d."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Convert an option's value."""
        number, unit = str(value)[:-1], str(value)[-1:]
        if not (number.isascii() and number.isdigit()) or len(number) > _DIGITS or unit not in _UNITS:
            self.fail(f"{value!r} is not a duration such as 90s, 15m, 2h or 3d", param, ctx)
        return timedelta(seconds=int(number) * _UNITS[unit])
