"""LINE. Source: the vendor's specification, whose list of required fields its own examples do not keep to."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from service.core.omni.channel.flex import Container
from service.core.omni.channel.step import Step, Text, Url

LineType = Literal["TEXT", "IMAGE", "VIDEO", "AUDIO", "STICKER", "FLEX"]
NEEDS: Final[Mapping[LineType, tuple[str, ...]]] = {
    "TEXT": ("text",),
    "IMAGE": ("url",),
    "VIDEO": ("url",),
    "AUDIO": ("url",),
    "STICKER": ("package_id", "sticker_id"),
    "FLEX": ("alt_text", "contents"),
}


class Line(Step):
    """A text, picture, video, sound, sticker or Flex Message; without a `type` it is a text."""

    type: LineType | None = None
    text: Text | None = None
    url: Annotated[Url, Field(max_length=1000)] | None = None
    thumbnail_url: Annotated[Url, Field(max_length=1000)] | None = None
    duration: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    package_id: Text | None = None
    sticker_id: Text | None = None
    alt_text: Annotated[str, Field(min_length=1, max_length=400)] | None = None
    contents: Container | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [name for name in NEEDS[self.type or "TEXT"] if getattr(self, name) is None]
        if missing:
            names = ", ".join(type(self).model_fields[name].alias or name for name in missing)
            raise PydanticCustomError(
                "line_content", "type {type} needs {names}", {"type": self.type or "TEXT", "names": names}
            )
        return self
