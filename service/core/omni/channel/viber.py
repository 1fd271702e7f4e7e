"""Viber Business Messages. Source: the vendor's specification; the length of a text from its Viber API."""

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from service.core.omni.channel.step import Step, Url

FileType = Literal[
    "doc", "docx", "rtf", "dot", "dotx", "odt", "odf", "fodt", "txt", "info", "pdf",
    "xps", "pdax", "eps", "xls", "xlsx", "ods", "fods", "csv", "xlsm", "xltx",
]  # fmt: skip
_TARGET: Final = r"^((?i:https?)://[^\s/?#]+[^\s]*|(?i:tel):\+?[0-9().-]*[0-9][0-9().-]*)$"
"""An address on the web, or a number with visual separators (RFC 3966, 3)."""
COMBINATIONS: Final = frozenset(
    {
        frozenset({"text"}),
        frozenset({"image"}),
        frozenset({"file"}),
        frozenset({"text", "button"}),
        frozenset({"text", "image", "button"}),
    }
)


class Viber(Step):
    """One of: text, image, file, text and button, text and image and button. 35 seconds to fourteen days a step."""

    min_validity: ClassVar[int] = 35
    """Seconds. Source: the vendor's specification 3.210.0, `ViberData`."""

    max_validity: ClassVar[int] = 14 * 86400

    text: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    image_url: Annotated[Url, Field(max_length=1000)] | None = Field(None, alias="imageURL")
    button_text: Annotated[str, Field(min_length=1, max_length=30)] | None = None
    button_url: Annotated[str, Field(max_length=1000, pattern=_TARGET)] | None = Field(None, alias="buttonURL")
    file_name: Annotated[str, Field(min_length=1, max_length=25)] | None = None
    file_type: FileType | None = None
    file_url: Url | None = None
    tracking_data: Annotated[str, Field(max_length=100)] | None = None
    is_promotional: bool | None = None
    force_primary_device: bool | None = None

    @model_validator(mode="after")
    def _combined(self) -> Self:
        if (self.button_text is None) != (self.button_url is None):
            raise PydanticCustomError("viber_button", "buttonText and buttonURL go together")
        if self.file_url is None and (self.file_name is not None or self.file_type is not None):
            raise PydanticCustomError("viber_file", "fileName and fileType go with fileUrl")
        given = {"text": self.text, "image": self.image_url, "button": self.button_url, "file": self.file_url}
        if frozenset(name for name, value in given.items() if value is not None) not in COMBINATIONS:
            raise PydanticCustomError(
                "viber_combination",
                "must be one of: text; image; file; text and button; text, image and button",
            )
        return self
