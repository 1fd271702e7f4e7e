"""Which requests the messages of reports belong to, as the memory that all workers share knows it.

A memory that is not there, or does not answer in time, leaves the fields of the events empty, and delays no event by
more than the time for which an answer is waited for.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from service.adapters.settings import Settings, SettingsError
from service.core.attempt.start_record import MemoryUnavailableError
from service.core.result.delivery_report import ReportEvent
from service.core.result.origin import UNKNOWN, Origin, origin_name, read_origin, reports_name
from service.core.result.trail import REPORTS, write_report

if TYPE_CHECKING:  # without the setting, its package is not loaded
    from service.adapters.memory import MemoryConnection

    Connect = Callable[[Callable[[MemoryUnavailableError], None]], Awaitable[tuple[MemoryConnection, str]]]

_Ended = asyncio.Future[MemoryUnavailableError | None]

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts to connect."""


class Origins:
    """Keeps a connection to the memory, and asks it."""

    def __init__(
        self,
        connect: "Connect",
        connected: Callable[[], None],
        failed: Callable[[str], None],
        kept: float,
    ) -> None:
        """`failed` gets the cause when the memory is unavailable. `kept`: seconds for which a report is recorded."""
        self._connect = connect
        self._kept = kept
        self._connected = connected
        self._failed = failed
        self._connection: MemoryConnection | None = None
        self._cause: str | None = None
        self._changed = asyncio.Event()
        self._ended: _Ended | None = None
        """Set when the connection has ended; to None when it is given up."""

    async def run(self) -> None:
        """Stay connected until cancelled."""
        pause = _FIRST_PAUSE
        while True:
            self._ended = ended = asyncio.get_running_loop().create_future()
            try:
                connection, _ = await self._connect(partial(_set, ended))
            except MemoryUnavailableError as error:
                self._note_failure(error.cause)
                await self._pause(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            self._connection, self._cause, pause = connection, None, _FIRST_PAUSE
            self._connected()
            try:
                failure = await ended
                if failure is not None:
                    self._note_failure(failure.cause)
            finally:
                self._connection = None
                connection.close()
            if failure is not None:
                await self._pause(pause)

    def use(self, connect: "Connect", *, elsewhere: bool) -> None:
        """Connect in another way from now on. `elsewhere`: the connection that is open is given up for it."""
        self._connect = connect
        self._changed.set()
        if elsewhere and self._ended is not None:
            _set(self._ended, None)

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until there is another way to connect."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    def _note_failure(self, cause: str) -> None:
        """Report a failure, once for each cause until it is over."""
        if cause != self._cause:
            self._failed(cause)
        self._cause = cause

    def record(self, events: Sequence[ReportEvent]) -> None:
        """Begin to record reports, so that an operator can find them."""
        if self._connection is not None:
            for event in events:
                values = ("", "", "", REPORTS, write_report(event))
                self._connection.end_part((reports_name(event.result.message_id),), values, self._kept)

    async def find(self, message_ids: Sequence[str]) -> list[Origin]:
        """Return the request of each message, by one question."""
        connection = self._connection
        if connection is not None:
            try:
                values = await connection.get_all([origin_name(name) for name in message_ids])
            except MemoryUnavailableError:
                pass
            else:
                return [read_origin(value) for value in values]
        return [UNKNOWN] * len(message_ids)


def origins(settings: Settings, connected: Callable[[], None], failed: Callable[[str], None]) -> Origins | None:
    """Make it if a memory is set. Raises `SettingsError` if the package for it is not installed."""
    if settings.memory_url is None:
        return None
    return Origins(connect_by(settings), connected, failed, settings.memory_ttl)


def _set(ended: _Ended, error: MemoryUnavailableError | None) -> None:
    if not ended.done():
        ended.set_result(error)


def connect_by(settings: Settings) -> "Connect":
    """Return what connects as the settings say. Raises `SettingsError` if the package for it is not installed."""
    try:
        from service.adapters.memory import connect  # noqa: PLC0415 - optional
    except ImportError:
        raise SettingsError("RELAY_MEMORY_URL: needs more to be installed: pip install 'omni-relay[memory]'") from None
    url = settings.memory_url.get_secret_value() if settings.memory_url else ""
    return lambda on_lost: connect(url, settings.ca_file, on_lost)
