"""A call that reads a text out. Source: the vendor's specification; the length of a text from its voice API."""

from typing import Annotated

from pydantic import Field

from service.core.omni.channel.step import Step


class Voice(Step):
    """A text of at most 1400 characters that is not punctuation alone; `language` by its code, such as `en`."""

    text: Annotated[str, Field(max_length=1400, pattern=r"[^\p{P}\s]")]
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*$")] | None = None
