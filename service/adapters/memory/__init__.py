"""The client of the memory that all workers share."""

from service.adapters.memory.connection import ANSWER, MemoryConnection, connect

__all__ = ["ANSWER", "MemoryConnection", "connect"]
