"""Messenger. Legacy: on the vendor's old pages and in its old clients, not in its current specification."""

from typing import Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from service.core.omni.channel.step import Step, Text, Url


class Facebook(Step):
    """A text, or something at an address."""

    text: Text | None = None
    type: Literal["TEXT", "IMAGE", "AUDIO", "VIDEO", "FILE"] | None = None
    url: Url | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.text is None and self.url is None:
            raise PydanticCustomError("facebook_content", "needs text or url")
        return self
