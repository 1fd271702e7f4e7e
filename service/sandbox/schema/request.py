"""Send requests: what the sandbox reads out of a valid one, and the two rules that no schema expresses.

* A validity period is between the bounds of its channel, whatever its unit. OMNI shortens a longer one silently.
* `sendAt` is less than 180 days ahead. A time in the past means now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from service.sandbox.schema.channel import CHANNELS, Channel
from service.sandbox.schema.validation import Errors, errors_in, moment_of

DEFAULT_VALIDITY = timedelta(hours=48)  # of a channel that names none; not published, so the longest of most channels

_LATEST_SEND_AT = timedelta(days=180)
SIMPLE_CHANNELS = ("sms", "viber", "voice", "facebook", "email")  # the simple form sends one text through all of these
_NANOSECONDS = {
    "NANOSECONDS": 1,
    "MICROSECONDS": 10**3,
    "MILLISECONDS": 10**6,
    "SECONDS": 10**9,
    "MINUTES": 60 * 10**9,
    "HOURS": 3600 * 10**9,
    "DAYS": 86400 * 10**9,
}


@dataclass(frozen=True)
class Destination:
    """One recipient; without a message id OMNI makes one up."""

    to: Mapping[str, str]
    message_id: str | None

    @property
    def phone_number(self) -> str | None:
        """The phone number, if there is one."""
        return self.to.get("phoneNumber")


@dataclass(frozen=True)
class Content:
    """The text for one channel, and how long that channel is tried before the next one."""

    text: str
    validity: timedelta = DEFAULT_VALIDITY


@dataclass(frozen=True)
class Notice:
    """Which reports the caller wants, and where."""

    wanted: bool = True
    intermediate: bool = False
    url: str | None = None
    content_type: str = "application/json"
    callback_data: str | None = None


@dataclass(frozen=True)
class SendRequest:
    """A request that OMNI would accept; `contents` has one entry for each channel."""

    destinations: Sequence[Destination]
    bulk_id: str | None
    send_at: str | None
    scenario_key: str | None = None
    contents: Mapping[str, Content] = field(default_factory=dict)
    notice: Notice = Notice()

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the contents."""
        return tuple(self.contents)

    @property
    def starts_at(self) -> datetime | None:
        """The time of `send_at`."""
        return moment_of(self.send_at)


@dataclass(frozen=True)
class Refusal:
    """An HTTP error and, for a bad request, the messages by path."""

    status: int
    errors: Errors = field(default_factory=dict)


def parse_simple(document: Mapping[str, Any], _now: datetime) -> SendRequest | Refusal:
    """Validate and read a body of `POST /omni/1/text`."""
    errors = errors_in(document, "SimpleRequest")
    if errors:
        return Refusal(400, errors)
    return _request(document, dict.fromkeys(SIMPLE_CHANNELS, Content(document["text"])))


def parse_advanced(document: Mapping[str, Any], now: datetime) -> SendRequest | Refusal:
    """Validate and read a body of `POST /omni/1/advanced`."""
    errors = errors_in(document, "AdvancedRequest")
    send_at = moment_of(document.get("sendAt"))
    if send_at is not None and send_at - now >= _LATEST_SEND_AT:
        errors["sendAt"] = ["must be less than 180 days ahead"]
    contents: dict[str, Content] = {}
    for name, channel in CHANNELS.items():
        content = document.get(name)
        if isinstance(content, dict):
            try:
                contents[name] = Content(content.get("text", ""), _validity(channel, content))
            except ValueError as out_of_bounds:
                errors[f"{name}.validityPeriod"] = [str(out_of_bounds)]
    return Refusal(400, errors) if errors else _request(document, contents)


def _validity(channel: Channel, content: Mapping[str, Any]) -> timedelta:
    """Read the validity period; a ValueError says that it is out of bounds. The schema reports a wrong type."""
    period, unit = content.get("validityPeriod"), content.get("validityPeriodTimeUnit", "MINUTES")
    if not isinstance(period, int | float) or not isinstance(unit, str) or unit not in _NANOSECONDS:
        return DEFAULT_VALIDITY
    seconds, rest = divmod(int(period) * _NANOSECONDS[unit], _NANOSECONDS["SECONDS"])
    shortest, longest = int(channel.shortest.total_seconds()), int(channel.longest.total_seconds())
    if not shortest <= seconds <= longest or (rest and seconds == longest):
        raise ValueError(f"must be between {shortest} seconds and {longest // 3600} hours")
    return timedelta(seconds=seconds, microseconds=rest // 1000)


def _request(document: Mapping[str, Any], contents: Mapping[str, Content]) -> SendRequest:
    return SendRequest(
        destinations=[Destination(each["to"], each.get("messageId")) for each in document["destinations"]],
        bulk_id=document.get("bulkId"),
        send_at=document.get("sendAt"),
        scenario_key=document.get("scenarioKey"),
        contents=contents,
        notice=Notice(
            wanted=document.get("notify", True),
            intermediate=document.get("intermediateReport", False),
            url=document.get("notifyUrl"),
            content_type=document.get("notifyContentType", "application/json"),
            callback_data=document.get("callbackData"),
        ),
    )
