"""Whether a delivery is still ours: its session may go while a task serves it, and another worker has it then."""

import asyncio
from contextvars import ContextVar

SESSION: ContextVar[asyncio.Event | None] = ContextVar("SESSION", default=None)
"""The session whose delivery this task serves; the event is set when it is over."""


class HandedBackError(Exception):
    """The session went before a call was made: by now another worker may have the delivery, so none is."""
