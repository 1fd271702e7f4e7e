"""Free ports for the servers of one private node.

They are below 32768, where Linux's ephemeral ports begin. Above, the socket of a client, even a closed one, can hold a
port that a server needs.
"""

import random
import socket
from dataclasses import dataclass
from typing import Self

_LOWEST, _END = 11_000, 32_000
_ROW = 10
_TRIES = 200
# Processes that were forked, or seeded alike, would choose the same ports at the same time.
_RANDOM = random.SystemRandom()


class NoFreePortError(Exception):
    """No row of ports was free."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one node on 127.0.0.1."""

    amqp: int
    distribution: int  # between Erlang nodes, and from the command line tools
    epmd: int
    management: int
    prometheus: int
    first_tool: int  # command line tools listen too, while they run
    last_tool: int

    @classmethod
    def free(cls) -> Self:
        """Choose consecutive ports that no process uses now."""
        for _ in range(_TRIES):
            first = _RANDOM.randrange(_LOWEST, _END, _ROW)
            if all(_is_free(first + offset) for offset in range(_ROW)):
                return cls(first, first + 1, first + 2, first + 3, first + 4, first + 5, first + _ROW - 1)
        raise NoFreePortError(f"no {_ROW} free ports in a row between {_LOWEST} and {_END}")


def free_port() -> int:
    """Choose one port that no process uses now."""
    return Ports.free().amqp


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
