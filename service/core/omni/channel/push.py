"""Push notifications of mobile apps. Source: the vendor's specification; the size of a payload from its status 68."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, JsonValue
from pydantic_core import PydanticCustomError, to_json

from service.core.omni.channel.step import FreeObject, Step, Text, Url
from service.core.omni.model import Strict

MAX_PAYLOAD: Final = 4000


def _small(payload: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if len(to_json(payload).decode()) > MAX_PAYLOAD:
        raise PydanticCustomError("payload_size", "must have at most 4000 characters as JSON")
    return payload


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise PydanticCustomError("unique", "must not name anything twice")
    return names


class NotificationOptions(Strict):
    """How a device shows the notification. An unknown `inboxTopic` is refused by OMNI (status 73)."""

    vibration_enabled: bool | None = None
    sound_enabled: bool | None = None
    sound_name: Text | None = None
    badge: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    content_url: Url | None = None
    category: Text | None = None
    in_app_style: Literal["BANNER", "MODAL"] | None = None
    title: Text | None = None
    is_silent: bool | None = None
    web_view_url: Url | None = None
    inbox_topic: Text | None = None


Subscriptions = Annotated[tuple[Text, ...], AfterValidator(_unique)]


class Push(Step):
    """A text of at most 2000 characters, for the devices behind a `pushRegistrationId`."""

    text: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    custom_payload: Annotated[FreeObject, AfterValidator(_small)] | None = None
    notification_options: NotificationOptions | None = None
    target_only_primary_devices: bool | None = None
    include_notifications_disabled_devices: bool | None = None
    person_subscriptions: Subscriptions | None = None
    device_subscriptions: Subscriptions | None = None
