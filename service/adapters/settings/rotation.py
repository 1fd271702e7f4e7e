"""Secrets and certificates that are replaced while a process runs, as Kubernetes and vault agents do.

The files are looked at every two seconds, on SIGHUP, and when OMNI refuses a key: the next one may be there already.
Calls in progress and the open connection to the broker go on; all that is opened later uses the new values. New values
that cannot be used are reported, and the old ones stay in use.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from service.adapters.settings.model import Settings, SettingsError
from service.adapters.settings.sources import SettingsSource

_LOOK_EVERY: Final = 2.0
_AT_MOST_EVERY: Final = 0.25
"""Seconds between two looks that refused calls ask for: many calls may be refused at once."""


@dataclass(frozen=True, slots=True)
class RotationEvents:
    """Functions called after files were looked at: for logs and metrics."""

    reloaded: Callable[[Sequence[str]], None]
    """New values are in use; with the variables that changed."""
    unchanged: Callable[[], None]
    """Everything was read again because someone asked for it, and nothing has changed."""
    refused: Callable[[str, bool], None]
    """New values cannot be used; with the fault, and whether it is another than at the look before."""
    need_restart: Callable[[Sequence[str]], None]
    """Settings that are read only at start have changed; with their variables."""
    ages: Callable[[Mapping[str, float]], None]
    """With the time since which each secret is in use (seconds since the epoch), by its variable."""


class Rotation:
    """Notices changed files. `apply` puts new settings to use; it raises `SettingsError` or `OSError` if it cannot."""

    def __init__(
        self,
        settings: Settings,
        source: SettingsSource,
        apply: Callable[[Settings], Awaitable[None]],
        events: RotationEvents,
    ) -> None:
        self.settings = settings
        self._source = source
        self._apply = apply
        self._events = events
        self._seen: tuple[object, ...] = ()
        """Empty at first: a file may change after the settings were read and before the first look."""
        self._looked_at = -_AT_MOST_EVERY
        self._lock = asyncio.Lock()
        self._asked = asyncio.Event()
        self._fault = ""
        self._in_use = source.in_use(settings)
        self._since = dict.fromkeys(settings.secrets_in_use, time.time())
        self._show_ages()

    def ask(self) -> None:
        """Read everything again, whether or not a file has changed."""
        self._asked.set()

    async def run(self) -> None:
        """Look at the files until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), _LOOK_EVERY)
            forced = self._asked.is_set()
            self._asked.clear()
            async with self._lock:
                await self._look(forced=forced)

    async def look_now(self) -> None:
        """Return when the files have been looked at, now or a moment ago."""
        async with self._lock:
            if time.monotonic() - self._looked_at >= _AT_MOST_EVERY:
                await self._look(forced=False)

    async def _look(self, *, forced: bool) -> None:
        """Put changed files to use. Ones that cannot be used are tried again at the next look."""
        seen = await asyncio.to_thread(self._source.fingerprint, self.settings)
        self._looked_at = time.monotonic()
        if seen == self._seen and not forced:
            return
        try:
            new = await asyncio.to_thread(self._source.load)
            rotated = self.settings.rotated(new)
            await self._apply(rotated)
        except (SettingsError, OSError) as error:
            fault = str(error) if isinstance(error, SettingsError) else f"RELAY_CA_FILE: {type(error).__name__}"
            is_new, self._fault = fault != self._fault, fault
            self._events.refused(fault, is_new)
            return
        before, after = self._in_use, await asyncio.to_thread(self._source.in_use, rotated)
        self.settings, self._in_use, self._seen, self._fault = rotated, after, seen, ""
        changed = sorted(name for name in after if before.get(name) != after[name])
        self._since |= dict.fromkeys(changed, time.time())
        self._show_ages()
        if changed:
            self._events.reloaded(changed)
        elif forced:  # else a file was written again with the same contents
            self._events.unchanged()
        if names := rotated.needing_restart(new):
            self._events.need_restart(names)

    def _show_ages(self) -> None:
        names = self.settings.secrets_in_use
        self._events.ages({name: self._source.changed_at(name) or self._since[name] for name in names})
