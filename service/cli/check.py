"""`omni-relay check`: can this configuration work? A line each; nothing is changed and nothing is sent.

It has the settings of the process that it runs in, so a pod's configuration is checked in that pod. A check that passes
says nothing about sending: an outage of OMNI shows in the worker, which is asked too where one runs beside it. All
checks are in one file, of more than 250 lines, since their order and their words are those of one list.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Final, Literal
from urllib.parse import urlsplit

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
    declare,
    has_exchange,
    missing_rights,
    rights_needed,
    rights_of_receiver,
)
from service.adapters.settings import Settings, SettingsError
from service.adapters.terminal import written_json
from service.cli.options import broker_fault, memory_fault, reads_settings, settings
from service.cli.status import get_page
from service.core import topology
from service.core.attempt.lookup import Answered, Forbidden, Unanswered
from service.core.attempt.start_record import MemoryUnavailableError
from service.core.printable import printable
from service.core.value import dataclass
from service.worker.app import access, retry_policy
from service.worker.broker_tokens import broker_tokens

Result = Literal["ok", "fault", "not_tested"]

_LABELS: Final[dict[Result, str]] = {"ok": "ok   ", "fault": "FAULT", "not_tested": "-    "}
_OK, _REFUSED, _FORBIDDEN = 200, 401, 403
_OMNI: Final[dict[int, tuple[Result, str]]] = {
    _OK: ("ok", "credentials accepted"),
    _REFUSED: ("fault", "refuses the credentials (401)"),
    _FORBIDDEN: ("not_tested", "knows the credentials; they may not list scenarios, so more is not known"),
}
_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here
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
_NO_MESSAGE: Final = "omni-relay-check"
"""An id that no message has."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line. `not_tested` is neither good nor bad."""

    name: str
    result: Result
    detail: str


async def check_all(settings: Settings, *, of_reports: bool, as_json: bool) -> int:
    """Print a line for each check, each as soon as it is known; returns the exit status."""
    checks: list[Check] = []

    def show(found: Iterable[Check]) -> None:
        for check in found:
            checks.append(check)
            if not as_json:
                click.echo(printable(f"{_LABELS[check.result]} {check.name:<14} {check.detail}"))

    show([Check("configuration", "ok", "read")])  # or load_settings would have said what is wrong
    if of_reports:
        has_token = bool(settings.reports_tokens)
        show([] if has_token else [Check("token", "fault", "RELAY_REPORTS_TOKEN: set the one of the workers")])
    show(await _check_broker(settings, _check_rights_of_receiver if of_reports else _check_contents))
    if settings.memory_url is not None:
        show([await _check_memory(settings, settings.memory_url.get_secret_value())])
    if of_reports:
        show([await _check_process(settings, "reports")])
    else:
        show(await _check_omni(settings))
        show([await _check_process(settings, "worker")])
        show([Check("sending", "not_tested", "nothing was posted; `omni-relay status` shows whether attempts succeed")])
    if as_json:
        lines = [{"name": check.name, "result": check.result, "detail": check.detail} for check in checks]
        click.echo(written_json({"checks": lines}))
    return int(any(check.result == "fault" for check in checks))


async def _check_broker(
    settings: Settings, check_contents: Callable[[Session, Settings], Awaitable[list[Check]]]
) -> list[Check]:
    """Connect to each broker, since a worker may use any of them; the first that answers is asked for the rest."""
    found: list[Check] = []
    session: Session | None = None
    tokens = broker_tokens(settings)
    try:
        for url in settings.rabbitmq_urls:
            at = f"{urlsplit(url).hostname}: " if len(settings.rabbitmq_urls) > 1 else ""
            try:
                opened = await connect((url,), tokens=tokens)
            except BrokerErrors as error:
                found.append(Check("broker", "fault", at + broker_fault(error)))
                continue
            found.append(Check("broker", "ok", f"{at}connected"))
            if session is None:
                session = opened
            else:
                await opened.close()
        return found if session is None else [*found, *await check_contents(session, settings)]
    finally:
        if session is not None:
            await session.close()


async def _check_contents(session: Session, settings: Settings) -> list[Check]:
    delays = retry_policy(settings).delays
    try:
        rights = rights_needed(delays, declares=settings.rabbitmq_declare, replies=bool(settings.reply_patterns))
        missing = await missing_rights(session, rights)
        topology = await _check_topology(session, delays, missing, declares=settings.rabbitmq_declare)
        return [*topology, *_describe_rights(missing)]
    except BrokerErrors as error:
        return [Check("broker", "fault", f"{type(error).__name__}: no answer to what was asked")]


async def _check_rights_of_receiver(session: Session, _: Settings) -> list[Check]:
    try:
        if missing := await missing_rights(session, rights_of_receiver()):
            return list(_describe_rights(missing))
        if not await has_exchange(session, topology.RESULTS):
            return [Check("topology", "fault", f"there is no exchange {topology.RESULTS}; a worker declares it")]
    except BrokerErrors as error:
        return [Check("broker", "fault", f"{type(error).__name__}: no answer to what was asked")]
    return [Check("rights", "ok", f"this user may publish to {topology.RESULTS}")]


async def _check_topology(
    session: Session, delays: tuple[float, ...], missing: list[Right], *, declares: bool
) -> list[Check]:
    """Check that everything exists. Arguments can only be compared by declaring, so only if a worker declares too."""
    try:
        await declare(session.connection, delays, passive=True)
    except TopologyError as error:
        return [Check("topology", "fault", f"{error}; a worker with RELAY_RABBITMQ_DECLARE=true declares it")]
    except AccessRefusedError as error:
        return [] if missing else [Check("topology", "fault", str(error))]  # the missing right has a line of its own
    try:
        if declares and not missing:
            await declare(session.connection, delays, passive=False, binds=False)
    except TopologyError as error:
        return [Check("topology", "fault", f"{error}; no worker starts until it is deleted or replaced")]
    return [Check("topology", "ok", "exchanges, queues and delay queues are there")]


def _describe_rights(missing: list[Right]) -> Iterator[Check]:
    for right in {(one.permission, one.resource): one for one in reversed(missing)}.values():
        yield Check("rights", "fault", str(RightMissingError(right)))  # once for a queue and an exchange of one name
    if not missing:
        yield Check("rights", "ok", "this user may do what a worker does")


async def _check_memory(settings: Settings, url: str) -> Check:
    """Connect to the shared memory as a worker does."""
    try:
        from service.adapters.memory import connect as connect_memory  # noqa: PLC0415 - optional

        connection, _ = await connect_memory(url, settings.ca_file, lambda _: None)
    except ImportError:
        return Check("memory", "fault", "its package is not installed: pip install 'omni-relay[memory]'")
    except MemoryUnavailableError as error:
        return Check("memory", "fault", memory_fault(error))
    try:
        await connection.put(("check",), "check", 1)
    except MemoryUnavailableError as error:
        return Check("memory", "fault", memory_fault(error))
    finally:
        connection.close()
    return Check("memory", "ok", "connected; it can be written")


async def _check_omni(settings: Settings) -> list[Check]:
    try:
        client = OmniClient(access(settings), lambda: datetime.now(UTC))
    except SettingsError as error:
        return [Check("OMNI", "fault", str(error))]
    try:
        status = await client.probe()
        if isinstance(status, NoAnswer):
            text = _NO_ANSWER.get(status.cause, f"no answer ({status.cause}); see RELAY_OMNI_BASE_URL")
            return [Check("OMNI", "fault", f"{text}: {status.detail}" if status.detail else text)]
        result, text = _OMNI.get(status, ("fault", f"answers HTTP {status}; see RELAY_OMNI_BASE_URL"))
        answered = Check("OMNI", result, text)
        return [answered] if result == "fault" else [answered, await _check_logs(client)]
    finally:
        await client.close()


async def _check_logs(client: OmniClient) -> Check:
    """See whether ambiguous attempts can be looked up. A worker without that right works, and settles by policy."""
    match await client.look((_NO_MESSAGE,)):
        case Answered():
            return Check("OMNI's logs", "ok", "the credentials may read them")
        case Forbidden(cause):
            return Check(
                "OMNI's logs",
                "not_tested",
                f"closed to these credentials ({cause}): RELAY_UNKNOWN_POLICY alone settles ambiguous attempts",
            )
        case Unanswered(cause):
            return Check("OMNI's logs", "fault", f"no answer ({cause})")


async def _check_process(settings: Settings, name: str) -> Check:
    """Ask the process that runs with these settings, if there is one on this machine: it sees what this cannot."""
    host, port = _ANY_ADDRESS.get(settings.http_host, settings.http_host), settings.http_port
    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        _, body = await asyncio.to_thread(get_page, f"http://{at}/readyz")
        said = json.loads(body)
        is_ready, is_paused, reason = said["ready"], said["paused"], said["reason"]
    except (OSError, HTTPException):
        return Check(name, "not_tested", f"none answers at {at}")
    except (ValueError, TypeError, KeyError, RecursionError):
        return Check(name, "fault", f"another program answers at {at}; see RELAY_HTTP_PORT")
    if is_paused:
        return Check(name, "fault", f"sending is paused: {reason}")
    return Check(name, "ok", "ready") if is_ready else Check(name, "fault", f"not ready: {reason}")


@click.command("check", epilog="Example: omni-relay check --json")
@reads_settings
@click.option("--reports", "of_reports", is_flag=True, help="Check what the receiver of reports needs instead.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
def command(of_reports: bool, as_json: bool) -> None:  # noqa: FBT001 - click passes them by name
    """Check configuration, brokers, topology, rights, OMNI credentials and the worker on this machine; a line each.

    Sending is not tested. Exit status 1 if any check fails.
    """
    sys.exit(asyncio.run(check_all(settings(), of_reports=of_reports, as_json=as_json)))
