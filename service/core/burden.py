"""How much memory a delivery takes: its body, also without its compression, and its headers once they are read."""

from typing import Final

from service.core.delivery import Delivery
from service.core.request.body import LONGEST
from service.core.request.compression import decompressed_size

_ENTRY: Final = 160
"""Bytes that an entry of a table takes, about; on the wire it may take four."""
_ITEM: Final = 64
"""Bytes that an item of a list takes, about; on the wire it may take one."""


def burden(delivery: Delivery) -> int:
    """Tell how many bytes a delivery takes, about."""
    size = len(delivery.body)
    if delivery.content_encoding is not None:
        size += min(decompressed_size(delivery), LONGEST)
    if delivery.headers:
        tables: list[object] = [delivery.headers]
        while tables:
            table = tables.pop()
            inner = list(table.values()) if isinstance(table, dict) else table if isinstance(table, list) else []
            size += (_ENTRY if isinstance(table, dict) else _ITEM) * len(inner)
            tables += [one for one in inner if isinstance(one, (dict, list))]
    return size
