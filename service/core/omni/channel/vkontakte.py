"""VKontakte. Source: the vendor's specification."""

from typing import Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from service.core.omni.channel.step import FreeObject, Step, Text


class VKontakte(Step):
    """A text, or a template with its parameters by name."""

    text: Text | None = None
    template_name: Text | None = None
    template_data: FreeObject | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.text is None and self.template_name is None:
            raise PydanticCustomError("vkontakte_content", "needs text or templateName")
        return self
