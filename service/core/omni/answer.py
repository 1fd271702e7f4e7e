"""The bodies of OMNI's answers, read leniently: the vendor may add fields at any time."""

from typing import Annotated

from pydantic import AwareDatetime, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from service.core.omni.model import Lenient, or_none
from service.core.omni.status import Status


class SentTo(Lenient):
    """The addresses as OMNI repeats them."""

    phone_number: str | None = None
    email_address: str | None = None
    push_registration_id: str | None = None
    whats_app_user_id: str | None = None


class SentMessage(Lenient):
    """One message of the answer."""

    to: SentTo | None = None
    status: Status | None = None
    """None where the entry cannot be read."""
    message_id: str | None = None


def _or_its_id(value: object, read: ValidatorFunctionWrapHandler) -> object:
    """Keep the id of an entry that cannot be read: a second entry with that id contradicts it."""
    try:
        return read(value)
    except ValidationError:
        given = value.get("messageId") if isinstance(value, dict) else None
        return SentMessage(message_id=str(given) if isinstance(given, str | int) else None)


class OmniAnswer(Lenient):
    """The answer to a call that OMNI accepted. It has a `bulk_id` only if there were several destinations."""

    bulk_id: str | None = None
    messages: tuple[SentMessage, ...]


class DamagedAnswer(OmniAnswer):
    """The same, some entries of which may be unreadable. It takes longer to read."""

    messages: tuple[Annotated[SentMessage, WrapValidator(_or_its_id)], ...]


class LogEntry(Lenient):
    """An entry of the logs, about one message or one step of its scenario."""

    message_id: str
    bulk_id: str | None = None
    to: Annotated[str | None, WrapValidator(or_none)] = None
    """The address of the step; None if it is unreadable."""
    sent_at: Annotated[AwareDatetime | None, WrapValidator(or_none)] = None
    """When the step was sent, by OMNI's clock; None if it is unreadable or has no zone."""
    status: Status


class OmniLogs(Lenient):
    """The answer to a log lookup. Source: the specification, `OmniLogsResponse`."""

    results: tuple[Annotated[LogEntry | None, WrapValidator(or_none)], ...]
    """None for an unreadable entry."""
