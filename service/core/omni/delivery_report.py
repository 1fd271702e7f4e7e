"""A result of a pushed report, as OMNI writes it. Source: the vendor's specification and its pages on OMNI reports.

Fields that nobody has published are ignored. A field that cannot be read is left out, unless the report means nothing
without it: the message's id, and the status of a delivery report or the time of a seen report.
"""

from typing import Annotated, Final, TypeVar

from pydantic import BeforeValidator, Field, WrapValidator
from pydantic_core import PydanticCustomError

from service.core.omni.model import Lenient, or_none
from service.core.omni.status import Status
from service.core.omni.time import Instant

CHANNELS: Final = (
    *("SMS", "EMAIL", "VOICE", "PUSH", "VIBER", "LINE", "VKONTAKTE", "KAKAO_CHINGU", "KAKAO_ALIM", "WHATSAPP"),
    *("VK", "FACEBOOK", "PARSECO"),
)
"""Published names of channels; those of the second line are of older editions. Others pass."""

_NULL: Final = "null"

T = TypeVar("T")


def _instant(value: object) -> object:
    """Take a written time alone: a number would be taken for seconds since 1970."""
    if not isinstance(value, str):
        raise PydanticCustomError("instant", "must be a text")
    return value.strip()


def _not_null(value: object) -> object:
    """Leave out what stands for no value: an empty element in XML, and `"null"` in older editions."""
    return None if value in ("", _NULL) else value


Maybe = Annotated[T | None, WrapValidator(or_none)]
Moment = Annotated[Instant, BeforeValidator(_instant)]


class Price(Lenient):
    """What a message of one part costs."""

    price_per_message: Maybe[Annotated[float, Field(allow_inf_nan=False)]] = None
    currency: Maybe[str] = None


class ReportError(Lenient):
    """Why a step failed, by the code of the operator or of OMNI."""

    group_id: Maybe[int] = None
    group_name: Maybe[str] = None
    id: Maybe[int] = None
    name: Maybe[str] = None
    description: Maybe[str] = None
    permanent: Maybe[bool] = None


class Result(Lenient):
    """One entry of `results`: a delivery report with a `status`, or a seen report with `seenAt` and without one."""

    message_id: Annotated[str, Field(min_length=1)]
    bulk_id: Maybe[str] = None
    to: Maybe[str | dict[str, object]] = None
    channel: Annotated[Maybe[str], BeforeValidator(_not_null)] = None
    sent_at: Maybe[Moment] = None
    send_at: Maybe[Moment] = None
    """`sentAt` of a seen report, as the specification names it there."""
    done_at: Maybe[Moment] = None
    seen_at: Maybe[Moment] = None
    message_count: Maybe[int] = None
    mcc_mnc: Annotated[Maybe[str], BeforeValidator(_not_null)] = None
    price: Maybe[Price] = None
    status: Status | None = None
    error: Maybe[ReportError] = None
    callback_data: Maybe[str] = None
