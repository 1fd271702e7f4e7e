"""OMNI's word on one message.

Open for what nobody has seen yet: names and ids move between editions of the vendor's documentation, and
fields may be added at any time, so nothing here is an enumeration: what is unknown is carried, not refused.
"""

from service.core.omni.model import Lenient


class Status(Lenient):
    """A status object, whole. Source: the OMNI pages, `Status` of the send response."""

    group_id: int
    group_name: str | None = None
    id: int | None = None
    name: str | None = None
    description: str | None = None
    action: str | None = None
