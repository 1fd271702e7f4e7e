"""A connection to the memory that all workers share: a Valkey or Redis server.

Everything that is asked in one turn of the loop goes out in one write, and names that need the same script share one
command. A server that does not answer within `ANSWER` counts as unavailable: the connection ends, with all that waits
for it. A connection that has ended is never used again, so commands are applied in the order in which they were given.

All keys begin with `omni-relay:` and expire. Keys and values never contain an address or a text of a message.

This file has more than 250 lines since the order of commands, and all that ends a connection, have to be read together.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.adapters.tls import client_context, untrusted
from service.core.attempt.start_record import MemoryCause, MemoryUnavailableError

ANSWER: Final = 0.5
"""Seconds for which an answer is waited for."""
_CONNECT: Final = 2.0
"""Seconds for connecting and logging in."""
_GRACE: Final = 0.05
"""Seconds in which the loop may still read an answer that has arrived while it was busy."""
_SOON: Final = 0.005
"""Seconds within which a command is written that is not waited for: mostly another one takes it along."""
_PREFIX: Final = "omni-relay:"

_PUT_IF_ABSENT: Final = """
for _, key in ipairs(KEYS) do redis.call('SET', key, ARGV[1], 'NX', 'PX', ARGV[2]) end
return 1
"""
_PUT: Final = """
for _, key in ipairs(KEYS) do redis.call('SET', key, ARGV[1], 'PX', ARGV[2]) end
return 1
"""
_EXCHANGE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
_GET_CHANGED: Final = """
local value = redis.call('GET', KEYS[1]) or ''
local version = value:sub(1, tonumber(ARGV[2]))
if version == ARGV[1] then return false end
return #value <= tonumber(ARGV[3]) and value or version
"""
_REPLACE: Final = """
local value = redis.call('GET', KEYS[1]) or ''
if value:sub(1, tonumber(ARGV[2])) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return 1
"""
_CAUSES: Final[tuple[tuple[type[Exception], MemoryCause], ...]] = (
    (TimeoutError, "timeout"),
    (RedisTimeoutError, "timeout"),
    (AuthenticationError, "login_refused"),
    (NoPermissionError, "not_permitted"),
    (ReadOnlyError, "read_only"),
    (OutOfMemoryError, "full"),
)
_SCRIPTS: Final = (_PUT_IF_ABSENT, _PUT, _EXCHANGE, _GET_CHANGED, _REPLACE)


class _Shared:
    """Keys that one command sets to the same value."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.done: asyncio.Future[Any] | None = None


class MemoryConnection:
    """One connection. Make it with `connect`."""

    def __init__(self, connection: Connection, on_lost: Callable[[MemoryUnavailableError], None]) -> None:
        self._connection = connection
        self.on_lost = on_lost
        self._shas: dict[str, bytes] = {}
        self._commands: list[tuple[object, ...]] = []
        self._shared: dict[tuple[str, str, int], _Shared] = {}
        self._answers: deque[tuple[float, asyncio.Future[Any] | None]] = deque()
        """When each command was given, and what waits for its answer."""
        self._given = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.TimerHandle | None = None
        self._overdue: tuple[float, asyncio.Future[Any] | None] | None = None
        """The answer that was overdue at the last look."""
        self._loop = asyncio.get_running_loop()
        self._tasks = [self._loop.create_task(part) for part in (self._write(), self._read())]
        self.error: MemoryUnavailableError | None = None

    async def begin(self) -> str:
        """Prepare the server. Returns its generation, which is another one after a restart or a failover."""
        for script in _SCRIPTS:
            self._shas[script] = await self._ask("SCRIPT", "LOAD", script)
        return await self.generation()

    async def generation(self) -> str:
        """Name the server process and the history of its data."""
        answers = await asyncio.gather(self._ask("INFO", "server"), self._ask("INFO", "replication"))
        lines = [line for answer in answers for line in str(answer, "utf-8", "replace").splitlines() if ":" in line]
        facts = dict(line.split(":", 1) for line in lines)
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
        """Return a value."""
        value = await self._ask("GET", _PREFIX + name)
        return value if isinstance(value, bytes) else None

    async def exchange(self, name: str, before: bytes, after: str, seconds: float) -> bool:
        """Replace a value, if it still is `before`."""
        given = (self._shas[_EXCHANGE], 1, _PREFIX + name, before, after, _milliseconds(seconds))
        answer: int = await self._ask("EVALSHA", *given)
        return answer == 1

    async def get_changed(self, name: str, version: str, length: int, most: int) -> bytes | None:
        """Return a value whose first `length` characters are not `version`; None if they are.

        A value that is not set is empty. Of one with more than `most` bytes, only the version is returned.
        """
        given = (self._shas[_GET_CHANGED], 1, _PREFIX + name, version, length, most)
        value = await self._ask("EVALSHA", *given)
        return value if isinstance(value, bytes) else None

    async def replace(self, name: str, version: str, length: int, value: str, seconds: float) -> bool:
        """Replace a value if its first `length` characters still are `version`, which is empty if it is not set."""
        given = (self._shas[_REPLACE], 1, _PREFIX + name, version, length, value, _milliseconds(seconds))
        answer: int = await self._ask("EVALSHA", *given)
        return answer == 1

    def put_if_absent(self, name: str, value: str, seconds: float) -> None:
        """Set a value that is not set, without waiting for the answer, or for a connection that has ended."""
        if self.error is not None:
            return
        self._share(_PUT_IF_ABSENT, value, seconds).keys.append(_PREFIX + name)
        if self._soon is None:
            self._soon = self._loop.call_later(_SOON, self._write_now)

    async def put(self, names: Sequence[str], value: str, seconds: float) -> None:
        """Set values; return when the server has confirmed them."""
        self._require()
        shared = self._share(_PUT, value, seconds)
        shared.keys.extend([_PREFIX + name for name in names])
        self._given.set()
        shared.done = shared.done or self._loop.create_future()
        await asyncio.shield(shared.done)

    def close(self) -> None:
        """End the connection."""
        self._lose(MemoryUnavailableError("no_connection"))

    def _share(self, script: str, value: str, seconds: float) -> _Shared:
        key = (script, value, _milliseconds(seconds))
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = _Shared()
        return shared

    def _write_now(self) -> None:
        self._soon = None
        if self._shared:
            self._given.set()

    async def _ask(self, *command: object) -> Any:  # noqa: ANN401 - as the server answers
        self._require()
        answer = self._loop.create_future()
        self._commands.append(command)
        self._answers.append((self._loop.time(), answer))
        self._given.set()
        self._watch()
        return await answer

    def _require(self) -> None:
        if self.error is not None:
            raise self.error

    async def _write(self) -> None:
        """Write what was given in a turn of the loop, and what waited for that."""
        while True:
            await self._given.wait()
            self._given.clear()
            now, shared, commands = self._loop.time(), self._shared, self._commands
            self._shared, self._commands = {}, []
            put = {key for (script, _, _), one in shared.items() if script is _PUT for key in one.keys}
            for (script, value, milliseconds), one in shared.items():
                keys = one.keys if script is _PUT else [key for key in one.keys if key not in put]
                if keys:
                    commands.append((b"EVALSHA", self._shas[script], len(keys), *keys, value, milliseconds))
                    self._answers.append((now, one.done))
            if not commands:
                continue
            self._watch()
            try:
                packed = self._connection.pack_commands(commands)  # type: ignore[arg-type]  # it takes tuples
                await self._connection.send_packed_command(packed, check_health=False)
            except (RedisError, OSError) as error:
                self._lose(_failure(error))

    async def _read(self) -> None:
        while True:
            try:
                answer = await self._connection.read_response(timeout=math.inf, disconnect_on_error=False)
            except (RedisError, OSError) as error:
                self._lose(_failure(error))
                return
            if not self._answers:
                self._lose(MemoryUnavailableError("refused"))  # an answer to nothing: it is no such server
                return
            _, waiting = self._answers.popleft()
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

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
        for one in [one for _, one in self._answers] + [one.done for one in self._shared.values()]:
            if one is not None and not one.done():
                one.set_exception(error)
                one.exception()  # some are waited for by none
        for task in self._tasks:
            task.cancel()
        self._loop.create_task(self._disconnect()).add_done_callback(lambda _: None)
        self.on_lost(error)

    async def _disconnect(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._connection.disconnect(nowait=True)


async def connect(
    url: str, ca_file: str | None, on_lost: Callable[[MemoryUnavailableError], None]
) -> tuple[MemoryConnection, str]:
    """Connect and log in. Returns the connection, and the generation of the server.

    `on_lost` is called once, when the connection has ended. Raises `MemoryUnavailableError`.
    """
    connection = _connection(url, ca_file)
    made: MemoryConnection | None = None
    try:
        async with asyncio.timeout(_CONNECT):
            await connection.connect()  # type: ignore[no-untyped-call]  # the library's
            made = MemoryConnection(connection, lambda _: None)
            generation = await made.begin()
    except (RedisError, OSError, MemoryUnavailableError) as error:
        failure = error if isinstance(error, MemoryUnavailableError) else _failure(error)
        if made is not None:
            made.close()
        else:
            await connection.disconnect(nowait=True)
        raise failure from None  # the cause may repeat what the server has, or the URL
    if made.error is not None:
        raise made.error
    made.on_lost = on_lost
    return made, generation


def _connection(url: str, ca_file: str | None) -> Connection:
    parts = urlsplit(url)
    options: dict[str, Any] = {
        "host": parts.hostname or "localhost",
        "port": parts.port or 6379,
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "db": int(parts.path.strip("/") or 0),
        "protocol": 2,
        "driver_info": None,
        "client_name": "omni-relay",
        "socket_timeout": None,  # answers have a limit of their own
        "socket_connect_timeout": _CONNECT,
        "retry": Retry(NoBackoff(), 0),
    }
    return _TlsConnection(ca_file, **options) if parts.scheme == "rediss" else Connection(**options)


class _TlsConnection(Connection):
    """TLS as towards OMNI and the broker: the library's own context does not trust `ca_file` beside the system's."""

    def __init__(self, ca_file: str | None, **options: Any) -> None:  # noqa: ANN401 - the library's
        super().__init__(**options)
        self._context = client_context(ca_file)

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "ssl": self._context}


def _failure(error: Exception) -> MemoryUnavailableError:
    """Name the cause. The detail is the text of a refused certificate only: other texts may contain what was sent."""
    if refused := untrusted(error):
        return MemoryUnavailableError("untrusted_certificate", str(refused))
    cause = next((cause for kind, cause in _CAUSES if isinstance(error, kind)), None)
    if cause is not None:
        return MemoryUnavailableError(cause)
    return MemoryUnavailableError("refused" if isinstance(error, ResponseError) else "no_connection")


def _milliseconds(seconds: float) -> int:
    return int(1000 * seconds)
