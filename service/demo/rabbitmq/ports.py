"""Free ports for the servers of one private node.

They lie below 32768, where Linux's ephemeral ports begin: above, the socket of some client, even one that
has just closed, can hold a port that a server wants.
"""

import random
import socket
from dataclasses import dataclass
from typing import Self

_LOWEST, _END = 11_000, 32_000
_ROW = 10
_TRIES = 200


class NoFreePortError(Exception):
    """No row of ports was free; on a machine in its right mind this does not happen."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What one node listens on, each on 127.0.0.1."""

    amqp: int
    distribution: int  # between Erlang nodes, and from the command line tools
    epmd: int
    management: int
    prometheus: int
    first_tool: int  # command line tools listen too, while they run
    last_tool: int

    @classmethod
    def free(cls) -> Self:
        """Choose ports in a row on which nobody listens now."""
        for _ in range(_TRIES):
            first = random.randrange(_LOWEST, _END, _ROW)  # noqa: S311  # to keep apart, not to keep secret
            if all(_is_free(first + offset) for offset in range(_ROW)):
                return cls(first, first + 1, first + 2, first + 3, first + 4, first + 5, first + _ROW - 1)
        raise NoFreePortError(f"no {_ROW} free ports in a row between {_LOWEST} and {_END}")


def free_port() -> int:
    """Choose one port on which nobody listens now."""
    return Ports.free().amqp


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
