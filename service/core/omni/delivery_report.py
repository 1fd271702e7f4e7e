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

_LARGEST: Final = 2**63 - 1

T = TypeVar("T")


def _instant(value: object) -> object:
    """Take a written time alone: a number would be taken for seconds since 1970."""
    if not isinstance(value, str):
        raise PydanticCustomError("instant", "must be a text")
    return value.strip()


def _not_null(value: object) -> object:
    """Leave out what stands for no value: an empty element in XML, and `"null"` in older editions."""
    return None if value in ("", _NULL) else value


def _not_float(value: object) -> object:
    """Refuse a fraction or an exponent as an id: the digits that were sent are lost."""
    if isinstance(value, float):
        raise PydanticCustomError("id", "must be a text")
    return value


Maybe = Annotated[T | None, WrapValidator(or_none)]
Moment = Annotated[Instant, BeforeValidator(_instant)]
Id = Annotated[str, BeforeValidator(_not_float)]
Int = Annotated[int, Field(ge=-_LARGEST, le=_LARGEST)]
"""Many consumers of events cannot read a larger one."""


class ReportStatus(Status):
    """The status of a report: it means something if its group can be read."""

    group_id: Int
    group_name: Maybe[str] = None
    id: Maybe[Int] = None
    name: Maybe[str] = None
    description: Maybe[str] = None
    action: Maybe[str] = None


class Price(Lenient):
    """What a message of one part costs."""

    price_per_message: Maybe[Annotated[float, Field(allow_inf_nan=False)]] = None
    currency: Maybe[str] = None


class ReportError(Lenient):
    """Why a step failed, by the code of the operator or of OMNI."""

    group_id: Maybe[Int] = None
    group_name: Maybe[str] = None
    id: Maybe[Int] = None
    name: Maybe[str] = None
    description: Maybe[str] = None
    permanent: Maybe[bool] = None


class Result(Lenient):
    """One entry of `results`: a delivery report with a `status`, or a seen report with `seenAt` and without one."""

    message_id: Annotated[Id, Field(min_length=1)]
    bulk_id: Maybe[Id] = None
    to: Maybe[str | dict[str, object]] = None
    channel: Annotated[Maybe[str], BeforeValidator(_not_null)] = None
    sent_at: Maybe[Moment] = None
    send_at: Maybe[Moment] = None
    """`sentAt` of a seen report, as the specification names it there."""
    done_at: Maybe[Moment] = None
    seen_at: Maybe[Moment] = None
    message_count: Maybe[Int] = None
    mcc_mnc: Annotated[Maybe[str], BeforeValidator(_not_null)] = None
    price: Maybe[Price] = None
    status: Annotated[ReportStatus | None, BeforeValidator(_not_null)] = None
    error: Maybe[ReportError] = None
    callback_data: Maybe[str] = None
