"""The inside of a LINE message of type FLEX: bubbles, boxes in boxes, and what is shown in them.

Sizes, colours and words are as the published description lists them.
"""

from service.sandbox.schema.check import Choice, Rule, Several, Shape
from service.sandbox.schema.field import Check, at_most, flag, one_of, string, text, whole_in

_LARGEST = 2**31 - 1
_SIZES = ("XXS", "XS", "SM", "MD", "LG", "XL", "XXL", "XXXL", "XXXXL", "XXXXXL")
_SPACING = one_of("XS", "SM", "MD", "LG", "XL", "XXL", "NONE")
_ALIGNMENT = one_of("START", "END", "CENTER")
_GRAVITY = one_of("TOP", "BOTTOM", "CENTER")
_FLEX = whole_in(0, 10)
_LABEL, _WORDS = at_most(20), at_most(300)

_ACTION = Choice(
    "type",
    {
        "POSTBACK": Shape({"label": _LABEL, "data": _WORDS, "displayText": _WORDS}, ("label", "data", "displayText")),
        "URI": Shape({"label": _LABEL, "uri": at_most(1000)}, ("label", "uri")),
        "MESSAGE": Shape({"label": _LABEL, "text": _WORDS}, ("label", "text")),
    },
)

# Boxes hold boxes: the two tables are filled below, where all that goes in is known.
_IN_BOX: dict[str, Rule] = {}
_IN_BASELINE: dict[str, Rule] = {}


def _box(contents: dict[str, Rule]) -> Shape:
    fields: dict[str, Rule] = {
        "type": one_of("BOX"),
        "flex": _FLEX,
        "spacing": _SPACING,
        "margin": _SPACING,
        "action": _ACTION,
        "contents": Several(Choice("type", contents)),
    }
    return Shape(fields, ("contents",))


_BOX = Choice("layout", {"HORIZONTAL": _box(_IN_BOX), "VERTICAL": _box(_IN_BOX), "BASELINE": _box(_IN_BASELINE)})
_IMAGE = Shape(
    {
        "type": one_of("IMAGE"),
        "url": text,
        "flex": _FLEX,
        "margin": _SPACING,
        "align": _ALIGNMENT,
        "gravity": _GRAVITY,
        "size": one_of(*_SIZES, "FULL"),
        "aspectRatio": string,
        "aspectMode": one_of("COVER", "FIT"),
        "backgroundColor": string,
        "action": _ACTION,
    },
    ("url",),
)
_TEXT = Shape(
    {
        "text": text,
        "flex": _FLEX,
        "margin": _SPACING,
        "size": one_of(*_SIZES),
        "align": _ALIGNMENT,
        "gravity": _GRAVITY,
        "wrap": flag,
        "maxLines": whole_in(0, _LARGEST),
        "color": string,
        "weight": one_of("BOLD", "REGULAR"),
        "action": _ACTION,
    },
    ("text",),
)
_BUTTON = Shape(
    {
        "action": _ACTION,
        "flex": _FLEX,
        "margin": _SPACING,
        "height": one_of("SM", "MD"),
        "style": one_of("LINK", "PRIMARY", "SECONDARY"),
        "color": string,
        "gravity": _GRAVITY,
    },
    ("action",),
)
_ICON = Shape({"url": text, "margin": _SPACING, "size": one_of(*_SIZES), "aspectRatio": string}, ("url",))
_BOTH: dict[str, Rule] = {"FILLER": Shape({}), "TEXT": _TEXT, "SPACER": Shape({"size": _SPACING})}
_IN_BASELINE |= {**_BOTH, "ICON": _ICON}
_IN_BOX |= {
    **_BOTH,
    "BOX": _BOX,
    "BUTTON": _BUTTON,
    "IMAGE": _IMAGE,
    "SEPARATOR": Shape({"margin": _SPACING, "color": string}),
}

_BLOCK_STYLE = Shape({"backgroundColor": string, "separator": flag, "separatorColor": string})
_BLOCKS = ("header", "hero", "body", "footer")
_DIRECTION: Check = one_of("LEFT_TO_RIGHT", "RIGHT_TO_LEFT")
_BUBBLE = Shape(
    {
        "type": one_of("BUBBLE"),
        "direction": _DIRECTION,
        **dict.fromkeys(_BLOCKS, _BOX),
        "hero": _IMAGE,
        "styles": Shape(dict.fromkeys(_BLOCKS, _BLOCK_STYLE)),
    },
    ("direction",),
)
FLEX = Choice("type", {"BUBBLE": _BUBBLE, "CAROUSEL": Shape({"contents": Several(_BUBBLE, least=1)}, ("contents",))})
