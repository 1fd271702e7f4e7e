"""The content of an advanced request, without its destinations.

Source: the vendor's specification, `OmniAdvancedRequest`. `facebook` is on the vendor's old pages only. Fields that
other messages have (a sender, attachments …) are a part of OMNI's scenario, or do not exist.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from service.core.omni.channel.email import Email
from service.core.omni.channel.facebook import Facebook
from service.core.omni.channel.kakao import KakaoAlim, KakaoChingu
from service.core.omni.channel.line import Line
from service.core.omni.channel.push import Push
from service.core.omni.channel.sms import Sms
from service.core.omni.channel.step import Step, Text, Url
from service.core.omni.channel.viber import Viber
from service.core.omni.channel.vkontakte import VKontakte
from service.core.omni.channel.voice import Voice
from service.core.omni.channel.whatsapp import WhatsApp
from service.core.omni.model import Strict
from service.core.omni.time import VendorTime

CHANNELS: Final = {
    "sms": "sms",
    "whats_app": "whatsApp",
    "viber": "viber",
    "voice": "voice",
    "email": "email",
    "push": "push",
    "line": "line",
    "v_kontakte": "vKontakte",
    "kakao_alim": "kakaoAlim",
    "kakao_chingu": "kakaoChingu",
    "facebook": "facebook",
}
"""Each channel's attribute of a `Content`, and its name as OMNI spells it."""

MAX_CALLBACK_DATA: Final = 4000
MAX_DAYS_AHEAD: Final = 180


class Content(Strict):
    """The channels' contents, and the options of reports. At least one channel has content."""

    bulk_id: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """Unpublished for OMNI; 100 characters in the vendor's other products."""
    scenario_key: Text | None = None

    sms: Sms | None = None
    whats_app: WhatsApp | None = None
    viber: Viber | None = None
    voice: Voice | None = None
    email: Email | None = None
    push: Push | None = None
    line: Line | None = None
    v_kontakte: VKontakte | None = None
    kakao_alim: KakaoAlim | None = None
    kakao_chingu: KakaoChingu | None = None
    facebook: Facebook | None = None

    notify: bool | None = None
    """False: OMNI sends no delivery reports."""
    intermediate_report: bool | None = None
    notify_url: Annotated[Url, Field(max_length=2048)] | None = None
    notify_content_type: Literal["application/json", "application/xml"] | None = None
    callback_data: Annotated[str, Field(max_length=MAX_CALLBACK_DATA)] | None = None
    """Comes back in delivery reports."""
    send_at: VendorTime | None = None
    """When the scenario's first step is due; less than 180 days ahead."""

    def to_json(self) -> bytes:
        """Render it with OMNI's names, as it is posted."""
        return self.__pydantic_serializer__.to_json(self, by_alias=True, exclude_none=True)

    @property
    def steps(self) -> dict[str, Step]:
        """Contents by the channel's name, as OMNI spells it."""
        found = {alias: getattr(self, name) for name, alias in CHANNELS.items()}
        return {alias: step for alias, step in found.items() if step is not None}
