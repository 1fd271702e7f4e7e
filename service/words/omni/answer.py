"""The bodies OMNI answers with: read leniently, since the vendor may add fields at any time."""

from typing import Annotated

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from service.words.omni.model import Lenient
from service.words.omni.status import Status


class SentTo(Lenient):
    """The addresses as OMNI repeats them."""

    phone_number: str | None = None
    email_address: str | None = None
    push_registration_id: str | None = None
    whats_app_user_id: str | None = None


def _or_none(value: object, read: ValidatorFunctionWrapHandler) -> object:
    """Leave out what cannot be read: its neighbours can."""
    try:
        return read(value)
    except ValidationError:
        return None


class SentMessage(Lenient):
    """One message of the answer."""

    to: Annotated[SentTo | None, WrapValidator(_or_none)] = None
    status: Status
    message_id: str | None = None


class OmniAnswer(Lenient):
    """The answer to a call that OMNI took. `bulk_id` comes only where there were several destinations."""

    bulk_id: str | None = None
    messages: tuple[Annotated[SentMessage | None, WrapValidator(_or_none)], ...]
    """None stands for one that cannot be read."""


class LogEntry(Lenient):
    """What the logs say about one message, or about one step of its scenario."""

    message_id: str
    bulk_id: str | None = None
    status: Status


class OmniLogs(Lenient):
    """The answer to a look into the logs. Source: the specification, `OmniLogsResponse`."""

    results: tuple[Annotated[LogEntry | None, WrapValidator(_or_none)], ...]
    """None stands for one that cannot be read."""
