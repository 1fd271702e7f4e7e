"""The client of the memory that all workers share."""

from service.adapters.memory.connecting import connect
from service.adapters.memory.connection import ANSWER, Confirmed, MemoryConnection

__all__ = ["ANSWER", "Confirmed", "MemoryConnection", "connect"]
