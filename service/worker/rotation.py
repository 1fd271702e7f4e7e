"""Secrets and certificates that are replaced while the worker runs, as Kubernetes and vault agents do.

The files are looked at every two seconds, on SIGHUP, and when OMNI refuses a key: the next one may be there already.
Calls in progress and the open connection to the broker go on; all that is opened later uses the new values. New values
that cannot be used are logged, and the old ones stay in use.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from service.adapters.logging import Logger
from service.adapters.metrics import Metrics
from service.adapters.settings import Settings, SettingsError, SettingsSource

_LOOK_EVERY: Final = 2.0
_AT_MOST_EVERY: Final = 0.25
"""Seconds between two looks that refused calls ask for: many calls may be refused at once."""


class Rotation:
    """Notices changed files. `apply` puts new settings to use; it raises `SettingsError` or `OSError` if it cannot."""

    def __init__(
        self,
        settings: Settings,
        source: SettingsSource,
        apply: Callable[[Settings], Awaitable[None]],
        log: Logger,
        metrics: Metrics,
    ) -> None:
        self.settings = settings
        self._source = source
        self._apply = apply
        self._log = log
        self._metrics = metrics
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
            self._refuse(str(error) if isinstance(error, SettingsError) else f"RELAY_CA_FILE: {type(error).__name__}")
            return
        before, after = self._in_use, await asyncio.to_thread(self._source.in_use, rotated)
        self.settings, self._in_use, self._seen, self._fault = rotated, after, seen, ""
        changed = sorted(name for name in after if before.get(name) != after[name])
        self._since |= dict.fromkeys(changed, time.time())
        self._show_ages()
        if changed:
            self._log.info("secrets.reloaded", changed=changed)
        elif forced:  # else a file was written again with the same contents
            self._log.info("secrets.unchanged")
        if names := rotated.needing_restart(new):
            self._log.warning("settings.need_restart", settings=names)

    def _refuse(self, fault: str) -> None:
        self._metrics.reload_failures.inc()
        if fault != self._fault:  # a file that stays wrong is tried every two seconds
            self._fault = fault
            self._log.error("secrets.refused", fault=fault)

    def _show_ages(self) -> None:
        self._metrics.secret_age.clear()
        for name in self.settings.secrets_in_use:
            since = self._source.changed_at(name) or self._since[name]
            self._metrics.secret_age.labels(name).set_function(partial(_age, since))


def _age(since: float) -> float:
    return max(0.0, time.time() - since)
