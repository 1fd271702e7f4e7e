"""What every channel can say, and the addresses it finds a person by.

Lengths and words are those of the published description of OMNI; three limits it leaves out are those of
the channels' own APIs: 1000 characters for a Viber text, 1400 for a voice text, 4096 for a WhatsApp text.
Fields it marks as required and leaves out of its own examples are not required here. `facebook` and
`parseco` are from the older description.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from service.sandbox.schema.check import Choice, Rule, Several, Shape
from service.sandbox.schema.field import (
    anything,
    at_most,
    flag,
    number_in,
    one_of,
    string,
    text,
    thing,
    web_address,
    whole_in,
)
from service.sandbox.schema.flex import FLEX
from service.sandbox.schema.kakao import KAKAO_ALIM, KAKAO_CHINGU

Fields = dict[str, Rule]


@dataclass(frozen=True)
class Channel:
    """One channel: its name in scenarios and reports, the rule of its content, the addresses it can use.

    Content needs all of one of the `ways`; of the fields in `exact` it may have nothing besides. The first
    address that is there is used.
    """

    name: str
    rule: Rule
    addresses: tuple[str, ...] = ("phoneNumber",)
    ways: tuple[Collection[str], ...] = ()
    exact: Collection[str] = ()
    shortest: timedelta = timedelta(seconds=30)
    longest: timedelta = timedelta(hours=48)


UNITS = {
    "NANOSECONDS": 1,
    "MICROSECONDS": 10**3,
    "MILLISECONDS": 10**6,
    "SECONDS": 10**9,
    "MINUTES": 60 * 10**9,
    "HOURS": 3600 * 10**9,
    "DAYS": 86400 * 10**9,
}


def _shape(fields: Fields, *needed: str) -> Shape:
    # How long a period may be depends on its unit, so that is for `judgement` to say.
    return Shape({**fields, "validityPeriod": anything, "validityPeriodTimeUnit": one_of(*UNITS)}, needed)


_SMS: Fields = {
    "text": text,
    "transliteration": one_of(
        "NONE",
        "ALL",
        "BALTIC",
        "CENTRAL_EUROPEAN",
        "COLOMBIAN",
        "CYRILLIC",
        "GREEK",
        "NON_UNICODE",
        "PORTUGUESE",
        "SERBIAN_CYRILLIC",
        "BULGARIAN_CYRILLIC",
        "TURKISH",
    ),
    "language": Shape(
        {
            "languageCode": one_of("NONE", "TR", "ES", "PT", "AUTODETECT"),
            "singleShift": flag,  # these two from the older description
            "lockingShift": flag,
        }
    ),
    "regional": Shape(
        {
            "indiaDlt": Shape(
                {"principalEntityId": text, "contentTemplateId": string, "telemarketerId": string},
                ("principalEntityId",),
            ),
            "korea": Shape({"title": at_most(66)}),
        }
    ),
}
_VIBER: Fields = {
    "text": at_most(1000, least=1),
    "imageURL": at_most(1000),
    "buttonText": at_most(30),
    "buttonURL": at_most(1000),
    "isPromotional": flag,
    "fileName": at_most(25),
    "fileType": one_of(
        *("doc", "docx", "rtf", "dot", "dotx", "odt", "odf", "fodt", "txt", "info", "pdf"),
        *("xps", "pdax", "eps", "xls", "xlsx", "ods", "fods", "csv", "xlsm", "xltx"),
    ),
    "fileUrl": web_address,
    "trackingData": at_most(100),
    "forcePrimaryDevice": flag,
}
_VIBER_BUTTON = {"buttonText", "buttonURL"}
_VIBER_WAYS = (
    {"text"},
    {"imageURL"},
    {"fileUrl"},
    {"text"} | _VIBER_BUTTON,
    {"text", "imageURL"} | _VIBER_BUTTON,
)

_PLACE: Fields = {"latitude": number_in(-90, 90), "longitude": number_in(-180, 180)}
_CONTACT = Shape(
    {
        "name": Shape(
            {
                **dict.fromkeys(("firstName", "formattedName"), text),
                **dict.fromkeys(("lastName", "middleName", "nameSuffix", "namePrefix"), string),
            },
            ("firstName", "formattedName"),
        ),
        "addresses": Several(
            Shape(dict.fromkeys(("street", "city", "state", "zip", "country", "countryCode", "type"), string))
        ),
        "birthday": string,
        "emails": Several(Shape(dict.fromkeys(("email", "type"), string))),
        "org": Shape(dict.fromkeys(("company", "department", "title"), string)),
        "phones": Several(Shape(dict.fromkeys(("phone", "type", "waId"), string))),
        "urls": Several(Shape(dict.fromkeys(("url", "type"), string))),
    },
    ("name",),
)
_MEDIA_TEMPLATE = Shape(
    {
        "header": Shape(
            {
                **dict.fromkeys(("textPlaceholder", "documentUrl", "documentFilename", "imageUrl", "videoUrl"), string),
                **_PLACE,
            }
        ),
        "body": Shape({"placeholders": Several(text)}, ("placeholders",)),
        "buttons": Several(Shape({"urlPlaceholder": at_most(1500), "quickReplyPayload": at_most(128)})),
    },
    ("body",),
)
_WHATSAPP: Fields = {
    "text": at_most(4096, least=1),
    "templateName": text,
    "templateNamespace": string,
    "language": text,
    "templateData": Several(string),
    "mediaTemplateData": _MEDIA_TEMPLATE,
    **dict.fromkeys(("fileUrl", "imageUrl", "audioUrl", "videoUrl"), at_most(2048)),
    "locationName": at_most(1000),
    "address": at_most(1000),
    **_PLACE,
    "previewUrl": flag,
    "contacts": Several(_CONTACT, least=1),
}
_WHATSAPP_WAYS = (
    *({each} for each in ("text", "templateName", "fileUrl", "imageUrl", "audioUrl", "videoUrl", "contacts")),
    {"latitude", "longitude"},
)

_SUBSCRIPTIONS = Several(text, unique=True)
_PUSH: Fields = {
    "text": at_most(2000, least=1),
    "customPayload": thing,
    "notificationOptions": Shape(
        {
            **dict.fromkeys(("vibrationEnabled", "soundEnabled", "isSilent"), flag),
            **dict.fromkeys(("soundName", "contentUrl", "category", "title", "webViewUrl", "inboxTopic"), string),
            "badge": whole_in(-(2**31), 2**31 - 1),
            "inAppStyle": one_of("BANNER", "MODAL"),
        }
    ),
    "targetOnlyPrimaryDevices": flag,
    "includeNotificationsDisabledDevices": flag,
    "personSubscriptions": _SUBSCRIPTIONS,
    "deviceSubscriptions": _SUBSCRIPTIONS,
}

_LINE_WAYS = {
    "TEXT": {"text"},
    "IMAGE": {"url"},
    "VIDEO": {"url"},
    "AUDIO": {"url"},
    "STICKER": {"packageId", "stickerId"},
    "FLEX": {"contents"},
}
_LINE: Fields = {
    "type": one_of(*_LINE_WAYS),
    "text": text,
    "url": at_most(1000),
    "thumbnailUrl": at_most(1000),
    "duration": whole_in(0, 2**63 - 1),
    "packageId": text,
    "stickerId": text,
    "altText": at_most(400),
    "contents": FLEX,
}
_LINE_RULE = Choice(
    "type", {kind: _shape(_LINE, *needed) for kind, needed in _LINE_WAYS.items()}, _shape(_LINE, "text")
)

_FACEBOOK: Fields = {"text": text, "type": one_of("TEXT", "IMAGE", "AUDIO", "VIDEO", "FILE"), "url": text}
_VKONTAKTE: Fields = {"text": text, "templateName": text, "templateData": thing}

CHANNELS = {
    "sms": Channel("SMS", _shape(_SMS, "text")),
    "viber": Channel(
        "VIBER",
        _shape(_VIBER),
        ways=_VIBER_WAYS,
        exact={"text", "imageURL", "fileUrl"} | _VIBER_BUTTON,
        shortest=timedelta(seconds=35),
        longest=timedelta(days=14),
    ),
    "voice": Channel("VOICE", _shape({"text": at_most(1400, least=1), "language": text}, "text")),
    "facebook": Channel(
        "FACEBOOK", _shape(_FACEBOOK), addresses=("facebookUserKey", "phoneNumber"), ways=({"text"}, {"url"})
    ),
    "email": Channel("EMAIL", _shape({"text": text, "subject": string}, "text"), addresses=("emailAddress",)),
    "whatsApp": Channel(
        "WHATSAPP", _shape(_WHATSAPP), addresses=("phoneNumber", "whatsAppUserId"), ways=_WHATSAPP_WAYS
    ),
    # The examples push to a phone number: the vendor knows which devices belong to it.
    "push": Channel(
        "PUSH",
        _shape(_PUSH),
        addresses=("pushRegistrationId", "phoneNumber"),
        ways=({"text"}, {"customPayload"}),
    ),
    "line": Channel("LINE", _LINE_RULE, addresses=("lineUserKey", "phoneNumber")),
    "vKontakte": Channel("VKONTAKTE", _shape(_VKONTAKTE), ways=({"text"}, {"templateName"})),
    "kakaoAlim": Channel("KAKAO_ALIM", _shape(KAKAO_ALIM, "text")),
    "kakaoChingu": Channel("KAKAO_CHINGU", _shape(KAKAO_CHINGU, "text")),
    "parseco": Channel("PARSECO", _shape({"text": text}, "text")),
}
