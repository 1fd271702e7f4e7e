"""`omni-relay check`: whether this configuration can work. A line each; nothing is changed, nothing is sent."""

import asyncio
import sys
from datetime import UTC, datetime
from typing import Final

import click

from service.adapters.omni import NoAnswer, OmniClient
from service.adapters.rabbitmq import (
    AccessRefusedError,
    BrokerErrors,
    Right,
    RightMissingError,
    Session,
    TopologyError,
    connect,
    connect_cause,
    declare,
    missing_rights,
    rights_needed,
)
from service.adapters.settings import Settings, SettingsError
from service.adapters.tls import untrusted
from service.cli.options import reads_settings, settings
from service.core.printable import printable
from service.worker.app import access, retry_policy

_OK, _REFUSED, _FORBIDDEN = 200, 401, 403
_OMNI: Final[dict[int, tuple[bool, str]]] = {
    _OK: (True, "credentials accepted"),
    _REFUSED: (False, "refuses the credentials (401)"),
    _FORBIDDEN: (True, "knows the credentials; they may not list scenarios, so whether they may send is not known"),
}
_NO_BROKER: Final = {
    "untrusted_certificate": "the certificate is not trusted; RELAY_CA_FILE adds an authority",
    "login_refused": "refuses user and password, or the client certificate; see RELAY_RABBITMQ_URL",
    "mechanism_refused": "does not offer the URL's auth; see RELAY_RABBITMQ_URL and the broker's plugins",
    "virtual_host_refused": "refuses the virtual host, which must exist and be allowed; see RELAY_RABBITMQ_URL",
    "no_connection": "no connection; see RELAY_RABBITMQ_URL, DNS and firewall",
}
_NO_ANSWER: Final = {
    "no_connection": "no connection; see RELAY_OMNI_BASE_URL, DNS, firewall and proxy",
    "connect_timeout": "no connection in time; see RELAY_OMNI_BASE_URL, firewall and proxy",
    "untrusted_certificate": "the certificate is not trusted; RELAY_CA_FILE adds an authority",
    "proxy_no_connection": "no connection to the proxy; see RELAY_OMNI_PROXY or HTTPS_PROXY",
    "proxy_http_407": "the proxy refuses its user and password (407); see RELAY_OMNI_PROXY or HTTPS_PROXY",
    "proxy_refused": "the proxy opens no tunnel; its administrator must allow this host and port",
    "token_http_401": "refuses the OAuth client (401); see RELAY_OMNI_CLIENT_ID and RELAY_OMNI_CLIENT_SECRET",
    "no_token": "no OAuth token; see RELAY_OMNI_BASE_URL",
}


async def check_all(settings: Settings) -> int:
    """Print a line for each check; returns the exit status."""
    click.echo("ok    configuration  read")  # load_settings has raised otherwise
    passed = [await _check_broker(settings), await _check_omni(settings)]
    return 0 if all(passed) else 1


async def _check_broker(settings: Settings) -> bool:
    try:
        session = await connect(settings.rabbitmq_urls)
    except BrokerErrors as error:
        return _print("broker", _broker_fault(error), good=False)
    _print("broker", "connected", good=True)
    delays = retry_policy(settings).delays
    try:
        rights = rights_needed(delays, declares=settings.rabbitmq_declare, replies=bool(settings.reply_patterns))
        missing = await missing_rights(session, rights)
        return all([await _check_topology(session, delays, missing), _print_rights(missing)])
    except BrokerErrors as error:
        return _print("broker", f"{type(error).__name__}: no answer to what was asked", good=False)
    finally:
        await session.close()


def _broker_fault(error: BaseException) -> str:
    text = _NO_BROKER[connect_cause(error)]
    detail = untrusted(error) or (error if isinstance(error, OSError) else None)  # names and addresses, no password
    return f"{text}: {detail}" if detail else text


async def _check_topology(session: Session, delays: tuple[float, ...], missing: list[Right]) -> bool:
    try:
        await declare(session.connection, delays, passive=True)
    except TopologyError as error:
        return _print("topology", f"{error}; a worker with RELAY_RABBITMQ_DECLARE=true makes it", good=False)
    except AccessRefusedError as error:
        return bool(missing) or _print("topology", str(error), good=False)  # the missing right has a line of its own
    return _print("topology", "exchanges, queues and delay queues are there", good=True)


def _print_rights(missing: list[Right]) -> bool:
    for right in {(one.permission, one.resource): one for one in reversed(missing)}.values():
        _print("rights", str(RightMissingError(right)), good=False)  # once for a queue and an exchange of one name
    return not missing and _print("rights", "this user may do what a worker does", good=True)


async def _check_omni(settings: Settings) -> bool:
    try:
        client = OmniClient(access(settings), lambda: datetime.now(UTC))
    except SettingsError as error:
        return _print("OMNI", str(error), good=False)
    try:
        status = await client.probe()
    finally:
        await client.close()
    if isinstance(status, NoAnswer):
        text = _NO_ANSWER.get(status.cause, f"no answer ({status.cause}); see RELAY_OMNI_BASE_URL")
        return _print("OMNI", f"{text}: {status.detail}" if status.detail else text, good=False)
    good, text = _OMNI.get(status, (False, f"answers HTTP {status}; see RELAY_OMNI_BASE_URL"))
    return _print("OMNI", text, good=good)


def _print(subject: str, text: str, *, good: bool) -> bool:
    click.echo(printable(f"{'ok   ' if good else 'FAULT'} {subject:<14} {text}"))
    return good


@click.command("check")
@reads_settings
def command() -> None:
    """Check configuration, broker, topology and OMNI credentials; a line each."""
    sys.exit(asyncio.run(check_all(settings())))
