"""LINE's Flex Messages: bubbles, and carousels of them. Source: the vendor's specification.

A bubble holds boxes; a box lays out components in a row, a column or along a baseline. Boxes may hold boxes,
which is where a hostile body would dig; the JSON parser stops at 200 levels.
"""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from service.core.omni.channel.step import Text
from service.core.omni.model import Strict

Spacing = Literal["XS", "SM", "MD", "LG", "XL", "XXL", "NONE"]
Size = Literal["XXS", "XS", "SM", "MD", "LG", "XL", "XXL", "XXXL", "XXXXL", "XXXXXL"]
ImageSize = Literal["XXS", "XS", "SM", "MD", "LG", "XL", "XXL", "XXXL", "XXXXL", "XXXXXL", "FULL"]
Gravity = Literal["TOP", "BOTTOM", "CENTER"]
Alignment = Literal["START", "END", "CENTER"]
Flex = Annotated[int, Field(ge=0, le=10)]
Label = Annotated[str, Field(max_length=20)]
Words = Annotated[str, Field(max_length=300)]


class PostbackAction(Strict):
    """Sends data back, and shows a text for it."""

    type: Literal["POSTBACK"]
    label: Label | None = None
    data: Words
    display_text: Words | None = None


class UriAction(Strict):
    """Opens an address."""

    type: Literal["URI"]
    label: Label | None = None
    uri: Annotated[str, Field(max_length=1000)]


class MessageAction(Strict):
    """Says something in the person's name."""

    type: Literal["MESSAGE"]
    label: Label | None = None
    text: Words


Action = Annotated[PostbackAction | UriAction | MessageAction, Field(discriminator="type")]


class ButtonComponent(Strict):
    """A button."""

    type: Literal["BUTTON"]
    action: Action
    flex: Flex | None = None
    margin: Spacing | None = None
    height: Literal["SM", "MD"] | None = None
    style: Literal["LINK", "PRIMARY", "SECONDARY"] | None = None
    color: str | None = None
    gravity: Gravity | None = None


class FillerComponent(Strict):
    """Empty room that grows."""

    type: Literal["FILLER"]


class IconComponent(Strict):
    """A small picture beside a text."""

    type: Literal["ICON"]
    url: Text
    margin: Spacing | None = None
    size: Size | None = None
    aspect_ratio: str | None = None


class ImageComponent(Strict):
    """A picture."""

    type: Literal["IMAGE"] | None = None
    url: Text
    flex: Flex | None = None
    margin: Spacing | None = None
    align: Alignment | None = None
    gravity: Gravity | None = None
    size: ImageSize | None = None
    aspect_ratio: str | None = None
    aspect_mode: Literal["COVER", "FIT"] | None = None
    background_color: str | None = None
    action: Action | None = None


class SeparatorComponent(Strict):
    """A line."""

    type: Literal["SEPARATOR"]
    margin: Spacing | None = None
    color: str | None = None


class SpacerComponent(Strict):
    """Empty room of a size."""

    type: Literal["SPACER"]
    size: Spacing | None = None


class TextComponent(Strict):
    """A text."""

    type: Literal["TEXT"]
    text: Text
    flex: Flex | None = None
    margin: Spacing | None = None
    size: Size | None = None
    align: Alignment | None = None
    gravity: Gravity | None = None
    wrap: bool | None = None
    max_lines: Annotated[int, Field(ge=0)] | None = None
    color: str | None = None
    weight: Literal["BOLD", "REGULAR"] | None = None
    action: Action | None = None


class Box(Strict):
    """What every box has."""

    type: Literal["BOX"] | None = None
    flex: Flex | None = None
    spacing: Spacing | None = None
    margin: Spacing | None = None
    action: Action | None = None


class BaselineBox(Box):
    """Texts and icons on one line."""

    layout: Literal["BASELINE"]
    contents: tuple[
        Annotated[FillerComponent | TextComponent | IconComponent | SpacerComponent, Field(discriminator="type")], ...
    ]


class RowBox(Box):
    """Components side by side, or one below the other."""

    layout: Literal["HORIZONTAL", "VERTICAL"]
    contents: "tuple[Component, ...]"


def _kind(value: object) -> object:
    """Return the tag of a component: its type, and for a box its layout. None if it is no object."""
    given = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return given.get("layout") if given.get("type") == "BOX" else given.get("type")


AnyBox = Annotated[BaselineBox | RowBox, Field(discriminator="layout")]
Component = Annotated[
    Annotated[ButtonComponent, Tag("BUTTON")]
    | Annotated[FillerComponent, Tag("FILLER")]
    | Annotated[ImageComponent, Tag("IMAGE")]
    | Annotated[TextComponent, Tag("TEXT")]
    | Annotated[SeparatorComponent, Tag("SEPARATOR")]
    | Annotated[SpacerComponent, Tag("SPACER")]
    | Annotated[BaselineBox, Tag("BASELINE")]
    | Annotated[RowBox, Tag("HORIZONTAL")]
    | Annotated[RowBox, Tag("VERTICAL")],
    Discriminator(_kind),
]


RowBox.model_rebuild()


class BlockStyle(Strict):
    """How one block looks."""

    background_color: str | None = None
    separator: bool | None = None
    separator_color: str | None = None


class BubbleStyles(Strict):
    """How the blocks of a bubble look."""

    header: BlockStyle | None = None
    hero: BlockStyle | None = None
    body: BlockStyle | None = None
    footer: BlockStyle | None = None


class Bubble(Strict):
    """One card."""

    type: Literal["BUBBLE"]
    direction: Literal["LEFT_TO_RIGHT", "RIGHT_TO_LEFT"] | None = None
    header: AnyBox | None = None
    hero: ImageComponent | None = None
    body: AnyBox | None = None
    footer: AnyBox | None = None
    styles: BubbleStyles | None = None


class Carousel(Strict):
    """Cards side by side."""

    type: Literal["CAROUSEL"]
    contents: Annotated[tuple[Bubble, ...], Field(min_length=1)]


Container = Annotated[Bubble | Carousel, Field(discriminator="type")]
