"""The channels, by the names of their contents in a request; `omni.json` has the rules of the contents."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Channel:
    """A channel: its name in scenarios and reports, the addresses it can use, the bounds of a validity period.

    Of the addresses, the first that a destination has is used.
    """

    name: str
    addresses: tuple[str, ...] = ("phoneNumber",)
    shortest: timedelta = timedelta(seconds=30)
    longest: timedelta = timedelta(hours=48)


CHANNELS = {
    "sms": Channel("SMS"),
    "viber": Channel("VIBER", shortest=timedelta(seconds=35), longest=timedelta(days=14)),
    "voice": Channel("VOICE"),
    "facebook": Channel("FACEBOOK", ("facebookUserKey", "phoneNumber")),
    "email": Channel("EMAIL", ("emailAddress",)),
    "whatsApp": Channel("WHATSAPP", ("phoneNumber", "whatsAppUserId")),
    # The examples push to a phone number: the vendor knows which devices belong to it.
    "push": Channel("PUSH", ("pushRegistrationId", "phoneNumber")),
    "line": Channel("LINE", ("lineUserKey", "phoneNumber")),
    "vKontakte": Channel("VKONTAKTE"),
    "kakaoAlim": Channel("KAKAO_ALIM"),
    "kakaoChingu": Channel("KAKAO_CHINGU"),
    "parseco": Channel("PARSECO"),
}
