"""The body of a send request, in three shapes with the same meaning.

advanced  `destinations`, and a content object for each channel
simple    `destinations`, `text` and `mailSubject`: one text for every channel
flat      `phoneNumber`, `emailAddress` and `messageId` of one recipient at the top level, with either content

Each field is validated here, and which fields may stand together. A schedule is checked in `faults`.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Final, TypeGuard

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from service.core.omni.channel.email import Email
from service.core.omni.channel.facebook import Facebook
from service.core.omni.channel.sms import FITS_ALWAYS, Sms
from service.core.omni.channel.viber import Viber
from service.core.omni.channel.voice import Voice
from service.core.omni.content import CHANNELS, Content
from service.core.omni.destination import Destination, MessageId, PhoneNumber
from service.core.omni.email_address import EmailAddress
from service.core.omni.time import Instant
from service.core.request.request import Fault, OnUnknown

MAX_DESTINATIONS: Final = 10_000
"""Messages in one request. OMNI publishes no limit; ours bounds the events that one body can cause."""

MAX_BODY: Final = 4 * 2**20
"""Bytes: enough for the most destinations, each with every address of a common length."""

MAX_VALUES: Final = 8 * MAX_DESTINATIONS
"""Values in one body, objects and lists included: a destination takes seven at most."""

MAX_SHARED_VALUES: Final = 5000
"""Values in one body besides its destinations: each may take a kilobyte where it is at fault."""

MAX_METADATA_IN_EVENTS: Final = 8 * 2**20
"""Bytes of metadata that the events of one request repeat: those of its metadata, for each destination."""

TOO_LONG: Final = f"must have at most {MAX_BODY >> 20} MiB"

_GROWTH: Final = 1.25

LONGEST: Final = int(MAX_BODY * _GROWTH)
"""Bytes of the longest body that is read, a producer's or ours."""

_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{,]', re.DOTALL)
"""A text of JSON, inside which nothing counts, or the beginning of another value."""

_QUOTE: Final = ord('"')

MAX_METADATA: Final = 4096

MAX_ID: Final = 200
_MAX_OCTETS: Final = 255

SIMPLE: Final = (Sms, Viber, Voice, Facebook, Email)
"""The channels on which a simple request sends its text."""

_LETTER: Final = re.compile(r"[^\W_]")
"""A letter or a digit: more than the punctuation that a call cannot read out."""

FLAT: Final = ("phoneNumber", "emailAddress")
"""The addresses of the flat shape."""
_OF_ONE: Final = (*FLAT, "messageId")
_SIMPLE: Final = ("text", "mailSubject")
_CHANNELS: Final = tuple(CHANNELS.values())
_NO_CONTENT: Final = "names no content: give text, or at least one of " + ", ".join(_CHANNELS)


def excess(body: bytes, *, grown: bool = False) -> str:
    """Return which limit a body exceeds; empty if none. It is not parsed, since parsing takes memory.

    `grown`: the relay wrote the body, which has grown by the ids of its messages and by a text for each channel.
    """
    return excess_bytes(body, grown=grown) or excess_values(body, grown=grown)


def longest(*, grown: bool) -> int:
    """Return the maximum of bytes of a body."""
    return LONGEST if grown else MAX_BODY


def excess_bytes(body: bytes, *, grown: bool = False) -> str:
    """Return the fault of a body with too many bytes; empty if it has none."""
    return TOO_LONG if len(body) > longest(grown=grown) else ""


def excess_values(body: bytes, *, grown: bool = False) -> str:
    """Return the fault of JSON with too many values; empty if it has none."""
    most = int(MAX_VALUES * (_GROWTH if grown else 1))
    return "" if holds_at_most(most, body) else f"must have at most {MAX_VALUES:,} values"


def holds_at_most(most: int, body: bytes) -> bool:
    """Return whether JSON has at most so many values. It is not parsed, since parsing takes memory and time."""
    return len(body) <= most or sum(map(body.count, (b",", b"{", b"["))) <= most or _counts_at_most(most, body)


def _counts_at_most(most: int, body: bytes) -> bool:
    """Count what is outside of texts, until it is too much. JSON has no more texts than twice its values."""
    values = texts = 0
    for token in _TOKEN.finditer(body):
        if body[token.start()] == _QUOTE:
            texts += 1
        else:
            values += 1
        if values > most or texts > 2 * most + 2:
            return False
    return True


def is_request_id(value: object) -> TypeGuard[str]:
    """Return whether a value can be a request's id: it is also an AMQP short string, of at most 255 bytes."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID:
        return False
    if value.isascii():
        return True
    try:
        return len(value.encode()) <= _MAX_OCTETS
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _checked_id(value: str) -> str:
    if not (value.isascii() and 0 < len(value) <= MAX_ID) and not is_request_id(value):
        raise PydanticCustomError("request_id", "must have 1 to 200 characters and at most 255 bytes")
    return value


RequestId = Annotated[str, AfterValidator(_checked_id)]


def metadata_size(metadata: Mapping[str, str]) -> int:
    """Count the bytes of keys and values."""
    return sum(
        len(key.encode(errors="replace")) + len(value.encode(errors="replace")) for key, value in metadata.items()
    )


def _small(metadata: dict[str, str]) -> dict[str, str]:
    if metadata_size(metadata) > MAX_METADATA:
        raise PydanticCustomError("metadata_size", "must hold at most 4 KiB of keys and values")
    return metadata


def _fits_every_channel(text: str) -> str:
    if len(text) <= FITS_ALWAYS and _LETTER.search(text):
        return text  # almost every text, without building five contents
    for channel in SIMPLE:
        try:
            channel(text=text)
        except ValidationError as error:
            (fault,) = error.errors()
            is_pattern = fault["type"] == "string_pattern_mismatch"  # the only one of a text is that of a call
            what = "must hold more than punctuation" if is_pattern else fault["msg"].removeprefix("String ")
            context = {"channel": channel.__name__.lower(), "what": what}
            raise PydanticCustomError(
                "simple_text", "must suit every channel, but for {channel}: {what}", context
            ) from None
    return text


class RequestBody(Content):
    """Every field of every shape."""

    destinations: Annotated[tuple[Destination, ...], Field(min_length=1, max_length=MAX_DESTINATIONS)] | None = None

    phone_number: PhoneNumber | None = None
    email_address: EmailAddress | None = None
    message_id: MessageId | None = None

    text: Annotated[str, AfterValidator(_fits_every_channel)] | None = None
    mail_subject: Annotated[str, Field(min_length=1, max_length=1000)] | None = None

    request_id: RequestId | None = None
    expires_at: Instant | None = None
    on_unknown: OnUnknown | None = None
    metadata: Annotated[dict[str, str], AfterValidator(_small)] | None = None


def shape_faults(present: set[str]) -> list[Fault]:
    """Return the faults of a combination of fields: mixed shapes, no recipient, no content."""
    faults = []
    if "destinations" not in present:
        if present.isdisjoint(FLAT):
            faults.append(Fault("destinations", "is required, unless phoneNumber or emailAddress names one recipient"))
    elif not present.isdisjoint(_OF_ONE):
        faults += [Fault(name, "cannot stand beside destinations") for name in _OF_ONE if name in present]
    if not present.isdisjoint(_CHANNELS):
        if not present.isdisjoint(_SIMPLE):
            channel = next(name for name in _CHANNELS if name in present)
            faults += [Fault(name, f"cannot stand beside {channel}") for name in _SIMPLE if name in present]
    elif "text" not in present:
        faults.append(Fault("$", _NO_CONTENT))
    return faults
