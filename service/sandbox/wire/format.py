"""The format of a body, JSON or XML, and of its response.

A response has the format of its request, unless `Accept` prefers the other one. An `Accept` that names neither is
ignored.
"""

from enum import Enum

_EITHER = frozenset({"*/*", "application/*"})


class Format(Enum):
    """A wire format, by its media type."""

    JSON = "application/json"
    XML = "application/xml"


def body_format(content_type: str) -> Format | None:
    """Return the format of a body; None for any other media type."""
    essence = content_type.partition(";")[0].strip().lower()
    return next((each for each in Format if each.value == essence), None)


def answer_format(accept: str, content_type: str) -> Format:
    """Choose the format of a response."""
    mirrored = body_format(content_type) or Format.JSON
    weights = dict.fromkeys(Format, 0.0)
    for entry in accept.split(","):
        essence, weight = _media_range(entry)
        for each in Format:
            if essence == each.value or essence in _EITHER:
                weights[each] = max(weights[each], weight)
    if weights[Format.JSON] == weights[Format.XML]:
        return mirrored
    return max(weights, key=lambda each: weights[each])


def _media_range(entry: str) -> tuple[str, float]:
    essence, *parameters = (part.strip().lower() for part in entry.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return essence, _quality(value)
    return essence, 1.0


def _quality(value: str) -> float:
    try:
        quality = float(value)
    except ValueError:
        return 1.0
    return quality if 0.0 <= quality <= 1.0 else 1.0
