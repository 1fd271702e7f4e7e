"""E-mail in plain text; the sender is the scenario's. Source: the vendor's specification."""

from typing import Annotated

from pydantic import Field

from service.core.omni.channel.step import Step, Text


class Email(Step):
    """A text, and a subject of at most 1000 characters (the limit of the vendor's e-mail API)."""

    text: Text
    subject: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
