"""Read the records of a request or a message in the shared memory, for `omni-relay find`."""

from typing import Any

from service.adapters.settings import Settings
from service.core.attempt.claim import claim_name
from service.core.attempt.start_record import MemoryUnavailableError
from service.core.result.origin import origin_name, read_origin, reports_name
from service.core.result.trail import read_state, read_trail

Row = dict[str, Any]


async def remembered(settings: Settings, name: str, not_asked: list[str]) -> Row | None:
    """Return what is known; adds to `not_asked` why nothing may be."""
    if settings.memory_url is None:
        return None
    try:
        from service.adapters.memory import connect  # noqa: PLC0415 - optional
    except ImportError:
        not_asked.append("the shared memory: pip install 'omni-relay[memory]'")
        return None
    try:
        connection, _ = await connect(settings.memory_url.get_secret_value(), settings.ca_file, lambda _: None)
        try:
            origin = read_origin(await connection.get(origin_name(name)))
            known = await connection.get(claim_name(origin.request_id or name))
            reports = await connection.get(reports_name(name))
        finally:
            connection.close()
    except MemoryUnavailableError as error:
        not_asked.append(f"the shared memory: unavailable ({error.cause})")
        return None
    if known is None and reports is None and origin.request_id is None:
        return None
    message_id = None if origin.request_id is None else name
    return {
        "requestId": origin.request_id or name,
        "metadata": origin.metadata,
        "state": read_state(known) if known else None,
        "trail": [*read_trail(known or b"", message_id), *read_trail(reports or b"")],
    }


def memory_lines(found: Row) -> list[str]:
    """Write what is known as lines."""
    first = f"request {found['requestId']}" + (f": {found['state']}" if found["state"] else "")
    return [f"shared memory  {line}" for line in (first, *map(_line, found["trail"]))]


def _line(row: Row) -> str:
    if row["event"] == "begun":
        return f"{row['time']} begun by worker {row['worker']}"
    status = row["status"] or {}
    parts = [
        f"{row['time']} {row['event']}" + (f" after attempt {row['attempt']}" if row["attempt"] else ""),
        f"{row['messages']} messages" if row["messages"] not in {None, 1} else "",
        f"status {status.get('name') or status.get('groupName')}" if status else "",
        f"reason {row['reason']}" if row["reason"] else "",
    ]
    return ", ".join(part for part in parts if part)
