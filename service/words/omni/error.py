"""The two error bodies in use. Source: the vendor's specification and its notes on errors.

legacy  {"requestError": {"serviceException": {"messageId", "text", "validationErrors": {path: [what]}}}}
new     {"errorCode", "description", "action", "violations": [{"property", "violation"}]}
"""

from pydantic import Field

from service.words.omni.model import Lenient


class ServiceException(Lenient):
    """What went wrong, in the legacy form."""

    message_id: str | None = None
    text: str | None = None
    validation_errors: dict[str, list[str] | str] | None = None


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

    error_code: str
    description: str | None = None
    violations: list[Violation] = Field(default_factory=list)
