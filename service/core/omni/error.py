"""The two error bodies in use. Source: the vendor's specification and its notes on errors.

legacy  {"requestError": {"serviceException": {"messageId", "text", "validationErrors": {path: [what]}}}}
new     {"errorCode", "description", "action", "violations": [{"property", "violation"}]}

An envelope is recognised although a detail in it is unreadable: it distinguishes OMNI's answer from a gateway's.
"""

from typing import Annotated

from pydantic import Field, WrapValidator

from service.core.omni.model import Lenient, or_none


class ServiceException(Lenient):
    """The error, in the legacy form."""

    message_id: str | None = None
    text: str | None = None
    validation_errors: Annotated[dict[str, list[str] | str] | None, WrapValidator(or_none)] = None


class RequestError(Lenient):
    """The legacy form's wrapper."""

    service_exception: ServiceException


class LegacyError(Lenient):
    """The legacy envelope."""

    request_error: RequestError


class Violation(Lenient):
    """One fault, in the new form."""

    property: str | None = None
    violation: str | None = None


class ApiError(Lenient):
    """The new envelope."""

    error_code: Annotated[str, Field(pattern=r"^E[0-9]{3,}$")]
    """Such as E400. The `errorCode` of other products has other forms."""
    description: str | None = None
    violations: Annotated[list[Violation] | None, WrapValidator(or_none)] = None
