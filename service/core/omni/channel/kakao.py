"""KakaoTalk: AlimTalk (templates) and ChinguTalk (to friends of a channel). Source: the vendor's specification.

It marks `kakaoChingu.imageUrl` as required, and its JSON examples give every button a `type`; its other examples
leave them out, and so may you: a button without a type is passed on as it is.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from service.core.omni.channel.step import Step, Text
from service.core.omni.model import Strict

Link = Annotated[str, Field(min_length=1, max_length=500)]
Picture = Annotated[str, Field(min_length=1, max_length=250)]

_NOTHING: Final = frozenset[str]()


class Button(Strict):
    """A button: its text, and what its type takes."""

    takes: ClassVar[Mapping[str, frozenset[str]]]
    """Names of the fields a type takes, beside the text."""
    needs: ClassVar[Mapping[str, frozenset[str]]] = {}
    """Names of those it cannot do without."""

    button_text: Annotated[str, Field(min_length=1, max_length=28)]

    @model_validator(mode="after")
    def _of_one_type(self) -> Self:
        type_: str | None = getattr(self, "type", None)
        if type_ is None:
            return self
        fields = {field.alias or name: getattr(self, name) for name, field in type(self).model_fields.items()}
        given = {name for name, value in fields.items() if value is not None} - {"type", "buttonText"}
        if strange := sorted(given - self.takes[type_]):
            raise PydanticCustomError("button", "type {type} does not take {name}", {"type": type_, "name": strange[0]})
        if missing := sorted(self.needs.get(type_, _NOTHING) - given):
            raise PydanticCustomError("button", "type {type} needs {name}", {"type": type_, "name": missing[0]})
        return self


class AlimButton(Button):
    """A button of AlimTalk; `buttonUrl` is the deprecated name of `buttonUrlMobile`."""

    takes = {  # noqa: RUF012 - a ClassVar of the base
        "URL": frozenset({"buttonUrl", "buttonUrlMobile", "buttonUrlPc", "target"}),
        "APP_LINK": frozenset({"androidScheme", "iosScheme", "buttonUrlMobile", "buttonUrlPc"}),
        "CHATBOT_SWITCH": frozenset({"chatExtra", "chatEvent"}),
        "DELIVERY_TRACKING": _NOTHING,
        "MESSAGE_DELIVERY": _NOTHING,
        "BOT_KEYWORD": _NOTHING,
        "ADD_CHANNEL": _NOTHING,
    }

    type: (
        Literal[
            "URL", "APP_LINK", "DELIVERY_TRACKING", "CHATBOT_SWITCH", "MESSAGE_DELIVERY", "BOT_KEYWORD", "ADD_CHANNEL"
        ]
        | None
    ) = None
    button_url: Link | None = None
    button_url_mobile: Link | None = None
    button_url_pc: Link | None = None
    target: Literal["out"] | None = None
    android_scheme: Link | None = None
    ios_scheme: Link | None = None
    chat_extra: Annotated[str, Field(max_length=50)] | None = None
    chat_event: Annotated[str, Field(max_length=50)] | None = None


class ChinguButton(Button):
    """A button of ChinguTalk."""

    takes = {  # noqa: RUF012 - a ClassVar of the base
        "URL": frozenset({"buttonUrl"}),
        "APP_LINK": frozenset({"androidScheme", "iosScheme"}),
        "MESSAGE_DELIVERY": _NOTHING,
        "BOT_KEYWORD": _NOTHING,
    }
    needs = takes

    type: Literal["URL", "APP_LINK", "BOT_KEYWORD", "MESSAGE_DELIVERY"] | None = None
    button_url: Link | None = None
    android_scheme: Link | None = None
    ios_scheme: Link | None = None


class KakaoAlim(Step):
    """An AlimTalk message; `groupKey` where the template was made with one."""

    text: Annotated[str, Field(min_length=1, max_length=1000)]
    template_code: Annotated[str, Field(min_length=1, max_length=30)]
    title: Annotated[str, Field(max_length=50)] | None = None
    group_key: Text | None = None
    buttons: Annotated[tuple[AlimButton, ...], Field(min_length=1, max_length=5)] | None = None


class KakaoChingu(Step):
    """A ChinguTalk message."""

    text: Text
    image_url: Picture | None = None
    image_link: Picture | None = None
    is_promotional: bool | None = None
    buttons: Annotated[tuple[ChinguButton, ...], Field(min_length=1, max_length=5)] | None = None
