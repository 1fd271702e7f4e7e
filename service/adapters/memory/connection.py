"""A connection to the memory that all workers share: a Valkey or Redis server.

Everything that is asked in one turn of the loop goes out in one write, and names that need the same script share one
command. A server that does not answer within `ANSWER` counts as unavailable: the connection ends, with all that waits
for it. A connection that has ended is never used again, so commands are applied in the order in which they were given.

redis-py connects and logs in; then its stream is replaced by a protocol of our own, so that an answer is read by a
callback and not by a task. hiredis parses and packs.

All keys begin with `omni-relay:` and expire. Keys and values never contain an address or a text of a message.

This file has more than 250 lines since the order of commands, and all that ends a connection, have to be read together.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final

import hiredis
from redis.asyncio.connection import Connection
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.adapters.memory.scripts import (
    ABSENT,
    END,
    END_PART,
    EXCHANGE,
    GET_CHANGED,
    PUT,
    PUT_EACH,
    RELEASE,
    REPLACE,
    SCRIPTS,
    START,
)
from service.adapters.tls import untrusted
from service.core.attempt.start_record import MemoryCause, MemoryUnavailableError

ANSWER: Final = 0.5
"""Seconds for which an answer is waited for."""
_GRACE: Final = 0.05
"""Seconds in which the loop may still read an answer that has arrived while it was busy."""
_SOON: Final = 0.02
"""Seconds within which a command is written that is not waited for: mostly another one takes it along."""
PREFIX: Final = "omni-relay:"
_SETS: Final = frozenset({PUT, START})
_ANSWERS_EACH: Final = frozenset({START, END, END_PART})

_CAUSES: Final[tuple[tuple[type[Exception], MemoryCause], ...]] = (
    (TimeoutError, "timeout"),
    (RedisTimeoutError, "timeout"),
    (AuthenticationError, "login_refused"),
    (NoPermissionError, "not_permitted"),
    (ReadOnlyError, "read_only"),
    (OutOfMemoryError, "full"),
)
_REFUSALS: Final[Mapping[str, MemoryCause]] = {
    "NOAUTH": "login_refused",
    "NOPERM": "not_permitted",
    "READONLY": "read_only",
    "OOM": "full",
    "MOVED": "changed",
}
"""By the first word of an error that the server answers."""


class Confirmed:
    """Waits until the server has confirmed something. Returns what it answers; None if the connection has ended."""

    __slots__ = ("_answer", "_error", "_is_done", "_waiting")

    def __init__(self) -> None:
        self._is_done = False
        self._answer: bytes | None = None
        self._error: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None
        """Made only if a task waits: many ends are confirmed at once, and one task waits for all."""

    def finish(self, answer: bytes | None, error: Exception | None = None) -> None:
        """End the wait for it."""
        self._is_done, self._answer, self._error = True, answer, error
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def __await__(self) -> Generator[Any, None, bytes | None]:
        if not self._is_done:
            self._waiting = asyncio.get_running_loop().create_future()
            yield from self._waiting
        if self._error is not None:
            raise self._error
        return self._answer


class _Shared:
    """Keys that share a command, with the values that it has for each."""

    __slots__ = ("keys", "more_keys", "script", "seconds", "value", "values", "waiting")

    def __init__(self, script: str, value: str, seconds: float) -> None:
        self.script = script
        self.value = value
        self.seconds = seconds
        self.keys: list[str] = []
        self.more_keys: list[str] = []
        self.values: list[str] = []
        self.waiting: list[Confirmed] = []
        """For a script that answers about each: one for each of its answers."""

    def finish(self, answer: object) -> bool:
        """End the wait of all. Returns whether it is such an answer; if not, nothing counts as confirmed."""
        if self.script not in _ANSWERS_EACH:
            for one in self.waiting:
                one.finish(b"")
            return True
        if not isinstance(answer, list) or len(answer) != len(self.waiting):
            self.end()
            return False
        for one, its in zip(self.waiting, answer, strict=True):
            one.finish(its if isinstance(its, bytes) else b"")
        return True

    def end(self) -> None:
        """End the wait of all, since the connection has ended."""
        for one in self.waiting:
            one.finish(None)


Give = Callable[["MemoryConnection", Confirmed], object]
"""Gives a command whose confirmation is waited for."""


class MemoryConnection(asyncio.Protocol):
    """One connection. Make it with `connecting.connect`."""

    def __init__(
        self, connection: Connection, on_lost: Callable[[MemoryUnavailableError], None], prefix: str = PREFIX
    ) -> None:
        writer, connection._writer, connection._reader = connection._writer, None, None  # noqa: SLF001 - its only way
        assert writer is not None  # noqa: S101 - it is connected
        self._writer, self._transport = writer, writer.transport
        self.on_lost = on_lost
        self._prefix = prefix
        self._reader = hiredis.Reader()
        self._shas: dict[str, bytes] = {}
        self._given: list[tuple[tuple[Any, ...], asyncio.Future[Any]] | _Shared] = []
        """Commands that are not written yet, in their order; those that share one where the first was given."""
        self._shared: dict[tuple[str, str, float], _Shared] = {}
        self._late: list[tuple[Give, Confirmed]] = []
        """Functions that give further commands when this turn's are written."""
        self._answers: deque[tuple[float, asyncio.Future[Any] | _Shared]] = deque()
        """When each command was given, and what waits for its answer."""
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.TimerHandle | None = None
        self._overdue: tuple[float, asyncio.Future[Any] | _Shared] | None = None
        """The answer that was overdue at the last look."""
        self._loop = asyncio.get_running_loop()
        self.error: MemoryUnavailableError | None = None
        self._transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        """Give each answer to what waits for it."""
        self._reader.feed(data)
        while True:
            try:
                answer = self._reader.gets()
            except hiredis.ProtocolError:
                self._lose(MemoryUnavailableError("refused"))  # it is no such server
                return
            if answer is False:
                return
            if isinstance(answer, hiredis.ReplyError):
                self._lose(MemoryUnavailableError(_REFUSALS.get(str(answer).partition(" ")[0], "refused")))
                return
            if not self._answers:
                self._lose(MemoryUnavailableError("refused"))  # an answer to nothing
                return
            _, waiting = self._answers.popleft()
            if isinstance(waiting, _Shared):
                if not waiting.finish(answer):
                    self._lose(MemoryUnavailableError("refused"))
                    return
            elif not waiting.done():
                waiting.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the server, or the network, has ended the connection."""
        self._lose(MemoryUnavailableError("no_connection") if exc is None else failure_of(exc))

    async def begin(self) -> str:
        """Prepare the server. Returns its generation, which is another one after a restart or a failover."""
        for script in SCRIPTS:
            self._shas[script] = await self._ask("SCRIPT", "LOAD", script)
        return await self.generation()

    async def generation(self) -> str:
        """Name the server process and the history of its data."""
        answers = await asyncio.gather(self._ask("INFO", "server"), self._ask("INFO", "replication"))
        lines = [line for answer in answers for line in str(answer, "utf-8", "replace").splitlines() if ":" in line]
        facts = dict(line.split(":", 1) for line in lines)
        if facts.get("role") == "slave":
            raise MemoryUnavailableError("read_only")
        return f"{facts.get('run_id', '')}.{facts.get('master_replid', '')}"

    async def time(self) -> float:
        """Return the time of the memory's clock, in seconds since 1970."""
        answer = await self._ask("TIME")
        try:
            seconds, microseconds = map(int, answer)
        except (TypeError, ValueError):
            raise MemoryUnavailableError("refused") from None
        return seconds + microseconds / 1e6

    async def get(self, name: str) -> bytes | None:
        """Return a value; None also for one of another program, which is no text."""
        (value,) = await self.get_all((name,))
        return value

    async def get_all(self, names: Sequence[str]) -> list[bytes | None]:
        """Return several values."""
        values = await self._ask("MGET", *[self._prefix + name for name in names])
        if not isinstance(values, list) or len(values) != len(names):
            raise MemoryUnavailableError("refused")
        return [value if isinstance(value, bytes) else None for value in values]

    async def exchange(self, name: str, before: bytes, after: str, seconds: float) -> bool:
        """Replace a value, if it still is `before`."""
        given = (self._shas[EXCHANGE], 1, self._prefix + name, before, after, _milliseconds(seconds))
        answer: int = await self._ask("EVALSHA", *given)
        return answer == 1

    async def get_changed(self, name: str, version: str, length: int, most: int) -> bytes | None:
        """Return a value whose first `length` characters are not `version`; None if they are.

        A value that is not set is empty. Of one with more than `most` bytes, only the version is returned.
        """
        given = (self._shas[GET_CHANGED], 1, self._prefix + name, version, length, most)
        value = await self._ask("EVALSHA", *given)
        return value if isinstance(value, bytes) else None

    async def replace(self, name: str, version: str, length: int, value: str, seconds: float) -> bool:
        """Replace a value if its first `length` characters still are `version`, which is empty if it is not set."""
        given = (self._shas[REPLACE], 1, self._prefix + name, version, length, value, _milliseconds(seconds))
        answer: int = await self._ask("EVALSHA", *given)
        return answer == 1

    def put_if_absent(self, name: str, value: str, seconds: float) -> None:
        """Set a value that is not set, without waiting for the answer, or for a connection that has ended."""
        if self.error is not None:
            return
        self._share(ABSENT, value, seconds).keys.append(self._prefix + name)
        if self._soon is None:
            self._soon = self._loop.call_later(_SOON, self._write_soon)

    async def put(self, names: Sequence[str], value: str, seconds: float) -> None:
        """Set values; return when the server has confirmed them."""
        if await self._put(names, value, seconds) is None:
            raise self.error or MemoryUnavailableError("no_connection")

    def _put(self, names: Sequence[str], value: str, seconds: float) -> Confirmed:
        self._require()
        shared, confirmed = self._share(PUT, value, seconds), Confirmed()
        shared.keys.extend([self._prefix + name for name in names])
        shared.waiting.append(confirmed)
        self._write_in_this_turn()
        return confirmed

    def put_each(self, pairs: Sequence[tuple[str, str]], seconds: float) -> None:
        """Set values, in this turn of the loop, without waiting for the answer, or for a connection that has ended."""
        if self.error is not None or not pairs:
            return
        shared = self._share(PUT_EACH, "", seconds)
        shared.keys.extend([self._prefix + name for name, _ in pairs])
        shared.values.extend([value for _, value in pairs])
        self._write_in_this_turn()

    async def start(
        self, names: Sequence[str], claims: Sequence[tuple[str, str, str]], value: str, seconds: float
    ) -> list[bytes]:
        """Set each of `names` to `value`; the same for each claim that can be made: (name, name of the claim, claim).

        Returns for each claim what it is, if it is not as wanted; else nothing.
        """
        confirmed = [self.claim(*one, value, seconds) for one in claims]
        if names:
            await self.put(names, value, seconds)
        found = [await one for one in confirmed]
        known = [one for one in found if one is not None]
        if len(known) < len(found):
            raise self.error or MemoryUnavailableError("no_connection")
        return known

    def claim(self, name: str, claim: str, wanted: str, value: str, seconds: float) -> Confirmed:
        """Set `name` to `value` if a claim can be made. Returns as `start` does for it; None as `end` does."""
        self._require()
        shared, confirmed = self._share(START, value, seconds), Confirmed()
        shared.keys.append(self._prefix + name)
        shared.more_keys.append(self._prefix + claim)
        shared.values.append(wanted)
        shared.waiting.append(confirmed)
        self._write_in_this_turn()
        return confirmed

    def give_late(self, give: Give) -> Confirmed:
        """Have a command given when those of this turn are written. The result is as that of `end`.

        What many tasks have to record is rendered in one loop then, which takes half as long as here and there.
        """
        confirmed = Confirmed()
        if self.error is not None:
            confirmed.finish(None)
            return confirmed
        self._late.append((give, confirmed))
        self._write_in_this_turn()
        return confirmed

    def end(  # noqa: PLR0913 - all that it records
        self,
        name: str,
        claim: str,
        lines: tuple[str, str],
        ends: str,
        seconds: float,
        *,
        confirmed: Confirmed | None = None,
    ) -> Confirmed:
        """Append to a claim, or make it, and delete `name` unless it is empty.

        `lines`: the first line of the claim before and after that. `confirmed`: the object to use for the result.

        The result is there when the server has confirmed it, or the connection has ended: None if it has ended; the
        claim if it has the same meaning and another holder; else nothing.
        """
        prefix = self._prefix
        return self._append(END, (prefix + claim, prefix + (name or claim)), (*lines, ends), seconds, confirmed)

    def end_part(
        self,
        claims: Sequence[str],
        values: tuple[str, str, str, str, str],
        seconds: float,
        *,
        confirmed: Confirmed | None = None,
    ) -> Confirmed:
        """Append to the claims of a request and of a part of it. The result is as that of `end`.

        `claims`: those of the request and of the part, and the record to delete or the part's again; or that of the
        request only. `values`: as those of the part for `end`; and the first line of the request's, if it has none, and
        what is appended to it.
        """
        return self._append(END_PART, [self._prefix + claim for claim in claims], values, seconds, confirmed)

    def release(self, claim: str, before: str, after: str, seconds: float) -> Confirmed:
        """Replace the first line of a claim, if it is `before`. The result is there as that of `end`."""
        return self._append(RELEASE, (self._prefix + claim,), (before, after), seconds)

    def close(self) -> None:
        """End the connection."""
        self._lose(MemoryUnavailableError("no_connection"))

    def _append(
        self,
        script: str,
        keys: Sequence[str],
        values: Sequence[str],
        seconds: float,
        confirmed: Confirmed | None = None,
    ) -> Confirmed:
        confirmed = confirmed or Confirmed()
        if self.error is not None:
            confirmed.finish(None)
            return confirmed
        if script is END_PART:
            shared = _Shared(script, "", seconds)
            self._given.append(shared)
        else:
            shared = self._share(script, "", seconds)
        shared.keys.extend(keys)
        shared.values.extend(values)
        shared.waiting.append(confirmed)
        self._write_in_this_turn()
        return confirmed

    def _share(self, script: str, value: str, seconds: float) -> _Shared:
        key = (script, value, seconds)
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = _Shared(script, value, seconds)
            self._given.append(shared)
        return shared

    def _write_in_this_turn(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._write)

    def _write_soon(self) -> None:
        self._soon = None
        self._write()

    async def _ask(self, *command: object) -> Any:  # noqa: ANN401 - as the server answers
        self._require()
        answer = self._loop.create_future()
        self._given.append((command, answer))
        self._write_in_this_turn()
        return await answer

    def _require(self) -> None:
        if self.error is not None:
            raise self.error

    def _write(self) -> None:
        """Write what was given in a turn of the loop, and what waited for that.

        A record that is set here is not set to another value before: one command does for a request that comes alone.
        """
        if self.error is not None:
            return
        self._is_due = True  # what is given now is written here
        late, self._late = self._late, []
        for give, confirmed in late:
            try:
                give(self, confirmed)
            except Exception as error:  # noqa: BLE001 - a defect of ours, which concerns this one
                confirmed.finish(None, error)
        self._is_due = False
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        now, given, commands = self._loop.time(), self._given, list[tuple[Any, ...]]()
        self._shared, self._given = {}, []
        set_here = {key for one in given if isinstance(one, _Shared) and one.script in _SETS for key in one.keys}
        for one in given:
            if not isinstance(one, _Shared):
                commands.append(one[0])
                self._answers.append((now, one[1]))
                continue
            keys = one.keys if one.script is not ABSENT else [key for key in one.keys if key not in set_here]
            if not keys:
                continue
            keys = keys + one.more_keys if one.more_keys else keys
            values = (one.value, *one.values) if one.value else one.values
            commands.append((b"EVALSHA", self._shas[one.script], len(keys), *keys, _milliseconds(one.seconds), *values))
            self._answers.append((now, one))
        if commands:
            self._watch()
            self._transport.write(b"".join([hiredis.pack_command(command) for command in commands]))

    def _watch(self) -> None:
        if self._timer is None and self._answers:
            self._timer = self._loop.call_at(self._answers[0][0] + ANSWER, self._look)

    def _look(self) -> None:
        """End the connection if an answer is overdue, though the loop has had the time to read it."""
        self._timer = None
        if not self._answers:
            return
        first = self._answers[0]
        left = first[0] + ANSWER - self._loop.time()
        if left <= 0 and first is self._overdue:
            self._lose(MemoryUnavailableError("timeout"))
            return
        self._overdue = first if left <= 0 else None
        self._timer = self._loop.call_later(_GRACE if left <= 0 else left, self._look)

    def _lose(self, error: MemoryUnavailableError) -> None:
        if self.error is not None:
            return
        self.error = error
        for timer in filter(None, (self._timer, self._soon)):
            timer.cancel()
        for _, confirmed in self._late:
            confirmed.finish(None)
        given = [one if isinstance(one, _Shared) else one[1] for one in self._given]
        for one in [one for _, one in self._answers] + given:
            if isinstance(one, _Shared):
                one.end()
            elif not one.done():
                one.set_exception(error)
                one.exception()  # some are waited for by none
        self._writer.close()
        self.on_lost(error)


def failure_of(error: Exception) -> MemoryUnavailableError:
    """Name the cause. The detail is the text of a refused certificate only: other texts may contain what was sent."""
    if refused := untrusted(error):
        return MemoryUnavailableError("untrusted_certificate", str(refused))
    cause = next((cause for kind, cause in _CAUSES if isinstance(error, kind)), None)
    if cause is not None:
        return MemoryUnavailableError(cause)
    return MemoryUnavailableError("refused" if isinstance(error, ResponseError) else "no_connection")


def _milliseconds(seconds: float) -> int:
    return int(1000 * seconds)
