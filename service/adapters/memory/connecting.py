"""Connecting to the memory that all workers share: one server, a cluster, or what sentinels name.

redis://, rediss://                    HOST:PORT/DATABASE
redis+cluster://, rediss+cluster://    HOST:PORT,HOST:PORT    any nodes
redis+sentinel://, rediss+sentinel://  HOST:PORT,HOST:PORT/NAME    of sentinels, and of what they watch

In a cluster all keys are in one slot, since a script reaches only keys of one node. So one node and its replicas hold
all of them, and the others are not used. A primary is looked for anew with each connection.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, MovedError, RedisError, ResponseError

from service.adapters.memory.connection import PREFIX, MemoryConnection, failure_of
from service.adapters.tls import last_client_context
from service.core.attempt.start_record import MemoryUnavailableError

_CONNECT: Final = 2.0
"""Seconds for connecting to a server and logging in."""
_ALL: Final = 5.0
"""Seconds for finding the server, and connecting to it."""
_IN_ONE_SLOT: Final = PREFIX + "{omni-relay}:"
_HOPS: Final = 3
"""Nodes of a cluster that are asked one after the other. Each names the one that has the slot."""
_PORTS: Final[Mapping[str, int]] = {"sentinel": 26379}

_Address = tuple[str, int]


@dataclass(frozen=True)
class _Target:
    """A URL, in its parts."""

    kind: str
    """cluster, sentinel, or nothing"""
    is_encrypted: bool
    addresses: tuple[_Address, ...]
    user: str | None
    password: str | None
    name: str
    """The database, or what sentinels watch."""
    ca_file: str | None

    def connection(self, address: _Address, *, logs_in: bool = True) -> Connection:
        options: dict[str, Any] = {
            "host": address[0],
            "port": address[1],
            "username": self.user if logs_in else None,
            "password": self.password if logs_in else None,
            "db": 0 if self.kind else int(self.name or 0),
            "protocol": 2,
            "driver_info": None,
            "client_name": None if self.kind == "sentinel" else "omni-relay",
            "socket_timeout": None,  # answers have a limit of their own
            "socket_connect_timeout": _CONNECT,
            "retry": Retry(NoBackoff(), 0),
        }
        return _TlsConnection(self.ca_file, **options) if self.is_encrypted else Connection(**options)


async def connect(
    url: str, ca_file: str | None, on_lost: Callable[[MemoryUnavailableError], None]
) -> tuple[MemoryConnection, str]:
    """Connect and log in. Returns the connection, and the generation of the server.

    `on_lost` is called once, when the connection has ended. Raises `MemoryUnavailableError`.
    """
    target = _read(url, ca_file)
    try:
        async with asyncio.timeout(_CONNECT if len(target.addresses) == 1 else _ALL):
            connection = await _find(target)
            made = MemoryConnection(connection, lambda _: None, _IN_ONE_SLOT if target.kind == "cluster" else PREFIX)
            try:
                generation = await made.begin()
            except BaseException:
                made.close()
                raise
    except (RedisError, OSError) as error:
        raise failure_of(error) from None  # the cause may repeat what the server has, or the URL
    if made.error is not None:
        raise made.error
    made.on_lost = on_lost
    return made, generation


async def _find(target: _Target) -> Connection:
    """Connect to the server that has the records. Raises what the library raises about the last one asked."""
    failure: Exception = MemoryUnavailableError("no_connection")
    for address in target.addresses:
        try:
            match target.kind:
                case "cluster":
                    return await _find_in_cluster(target, address)
                case "sentinel":
                    return await _open(target, await _ask_sentinel(target, address))
                case _:
                    return await _open(target, address)
        except (RedisError, OSError, MemoryUnavailableError) as error:
            failure = error
    raise failure


async def _find_in_cluster(target: _Target, address: _Address) -> Connection:
    for _ in range(_HOPS):
        connection = await _open(target, address)
        try:
            await _ask(connection, "GET", _IN_ONE_SLOT)
        except MovedError as moved:
            await connection.disconnect(nowait=True)
            address = (moved.host or address[0], int(moved.port))
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        else:
            return connection
    raise MemoryUnavailableError("refused")


async def _ask_sentinel(target: _Target, address: _Address) -> _Address:
    """Ask a sentinel for the primary: without logging in, or else with the server's password."""
    for logs_in in (False, True):
        connection = target.connection(address, logs_in=logs_in)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # the library's
            answer = await _ask(connection, "SENTINEL", "get-master-addr-by-name", target.name)
        except (AuthenticationError, ResponseError):
            if logs_in or target.password is None:
                raise
        else:
            match answer:
                case [bytes(host), bytes(port)] if port.isdigit():
                    return host.decode(), int(port)
                case _:
                    raise MemoryUnavailableError("refused")  # it watches nothing of that name
        finally:
            await connection.disconnect(nowait=True)
    raise MemoryUnavailableError("login_refused")


async def _open(target: _Target, address: _Address) -> Connection:
    connection = target.connection(address)
    try:
        await connection.connect()  # type: ignore[no-untyped-call]  # the library's
    except BaseException:
        await connection.disconnect(nowait=True)  # it may be half connected
        raise
    return connection


async def _ask(connection: Connection, *command: str) -> object:
    await connection.send_command(*command)
    answer: object = await connection.read_response(disable_decoding=True)
    return answer


def _read(url: str, ca_file: str | None) -> _Target:
    scheme, _, rest = url.partition("://")
    transport, _, kind = scheme.partition("+")
    netloc, _, name = rest.partition("/")
    login, _, hosts = netloc.rpartition("@")
    user, _, password = login.partition(":")
    port = _PORTS.get(kind, 6379)
    addresses = tuple(_read_address(host, port) for host in hosts.split(","))
    return _Target(
        kind, transport == "rediss", addresses, unquote(user) or None, unquote(password) or None, name, ca_file
    )


def _read_address(text: str, default: int) -> _Address:
    host, _, port = text.rpartition(":") if text.rpartition(":")[2].isdigit() else (text, "", "")
    return host.strip("[]") or "localhost", int(port or default)


class _TlsConnection(Connection):
    """TLS as towards OMNI and the broker: the library's own context does not trust `ca_file` beside the system's."""

    def __init__(self, ca_file: str | None, **options: Any) -> None:  # noqa: ANN401 - the library's
        super().__init__(**options)
        self._context = last_client_context(ca_file)

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "ssl": self._context}
