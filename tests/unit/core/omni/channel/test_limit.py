"""What each channel takes, and what it does not: one table a channel, a line a case.

A valid content is posted as it came. An invalid one is refused with the path and the words that stand beside it.
"""

import json
from typing import Final

import pytest

from service.core.attempt.call import Origin, plan
from service.core.attempt.retry import Policy, RetryPolicy
from tests.support.builder import a_body, a_history, parsed

Fields = dict[str, object]

URL: Final = "https://example.com/x"
TARGET: Final = "must be a web address, or tel: and a number"
WEB: Final = "must be a web address, with http:// or https://"
STRING: Final = "should be a valid string"
WHOLE: Final = "should be a valid integer"
TRUTH: Final = "should be a valid boolean"
REQUIRED: Final = "is required"
UNKNOWN: Final = "is not a field of a send request"
EMPTY: Final = "should have at least 1 character"


def long(characters: int, start: str = "") -> str:
    return start + "x" * (characters - len(start))


def at_most(characters: int) -> str:
    return f"should have at most {characters} characters"


BUTTON: Final[Fields] = {"buttonText": "Go", "buttonURL": URL}
CONTACT: Final[Fields] = {"name": {"firstName": "A", "formattedName": "A B"}}
ALIM: Final[Fields] = {"text": "x", "templateCode": "c"}
TEXT: Final[Fields] = {"type": "TEXT", "text": "x"}


def only(name: str, value: object) -> Fields:
    return {name: value}


def media(**template: object) -> Fields:
    return {"templateName": "t", "mediaTemplateData": {"body": {"placeholders": []}, **template}}


def card(**contact: object) -> Fields:
    return {"contacts": [{**CONTACT, **contact}]}


def alim(**button: object) -> Fields:
    return {**ALIM, "buttons": [{"buttonText": "b", **button}]}


def chingu(**button: object) -> Fields:
    return {"text": "x", "buttons": [{"buttonText": "b", **button}]}


def flex(**bubble: object) -> Fields:
    return {"type": "FLEX", "altText": "x", "contents": {"type": "BUBBLE", **bubble}}


def box(*components: object, layout: str = "VERTICAL", **frame: object) -> Fields:
    return flex(body={"layout": layout, "contents": [*components], **frame})


NO_COMPONENTS: tuple[object, ...] = (1, "x", None, [1], True, {})


def lasting(period: object, unit: str | None = None) -> Fields:
    named: Fields = {} if unit is None else {"validityPeriodTimeUnit": unit}
    return {"text": "x", "validityPeriod": period, **named}


def leading(target: str) -> Fields:
    return {"text": "x", "buttonText": "Go", "buttonURL": target}


def options(**given: object) -> Fields:
    return {"text": "x", "notificationOptions": given}


VALID: Final[dict[str, list[Fields]]] = {
    "sms": [
        {"text": "x"},
        {"text": long(3825)},
        {"text": "x", "language": {"languageCode": "AUTODETECT"}},
        {"text": "x", "transliteration": "NON_UNICODE"},
        {"text": "x", "regional": {}},
        {"text": "x", "regional": {"indiaDlt": {"principalEntityId": "1"}}},
        {
            "text": "x",
            "regional": {"indiaDlt": {"principalEntityId": "1", "contentTemplateId": "2", "telemarketerId": "3"}},
        },
        {"text": "x", "regional": {"korea": {"title": long(66)}}},
        lasting(30, "SECONDS"),
        lasting(172_800, "SECONDS"),
        lasting(1),
        lasting(2880, "MINUTES"),
        lasting(48, "HOURS"),
        {"text": "x", "validityPeriodTimeUnit": "DAYS"},
    ],
    "viber": [
        {"text": long(1000)},
        {"imageURL": long(1000, "https://example.com/")},
        {"fileUrl": URL},
        {"fileUrl": URL, "fileName": long(25), "fileType": "pdf"},
        {"text": "x", **BUTTON},
        {"text": "x", "buttonText": long(30), "buttonURL": "tel:+41793026727"},
        {"text": "x", "imageURL": URL, **BUTTON},
        {"imageURL": "HTTPS://EXAMPLE.COM/x.png"},
        {"fileUrl": "Http://example.com/x"},
        *(leading(to) for to in ("HTTPS://example.com", "tel:41793026727", "TEL:+41793026727")),
        *(leading(to) for to in ("tel:+41-79-302-67-27", "tel:+1-(202)-555.0147")),
        {"text": "x", "trackingData": long(100), "isPromotional": True, "forcePrimaryDevice": False},
        lasting(336, "HOURS"),
        lasting(35, "SECONDS"),
        lasting(1),
    ],
    "voice": [{"text": long(1400)}, {"text": "¡1!", "language": "en"}, {"text": "x", "language": "zh-Hant-TW"}],
    "email": [{"text": long(100_000)}, {"text": "x", "subject": long(1000)}],
    "whatsApp": [
        {"text": long(4096), "previewUrl": True},
        {"templateName": "t", "templateNamespace": "n", "language": "en", "templateData": ["a", "b"]},
        {"templateName": "t", "templateData": []},
        media(),
        media(body={"placeholders": ["a"]}, header={"textPlaceholder": "x"}),
        media(header={"documentUrl": URL, "documentFilename": "x.pdf"}),
        media(header={"imageUrl": URL}),
        media(header={"videoUrl": URL}),
        media(header={"latitude": -90.0, "longitude": 180.0}),
        media(buttons=[{"urlPlaceholder": long(1500)}, {"quickReplyPayload": long(128)}, {}]),
        {"fileUrl": URL, "text": "x"},
        {"imageUrl": long(2048, "https://example.com/")},
        {"audioUrl": URL},
        {"videoUrl": URL},
        {"latitude": 90.0, "longitude": -180.0, "locationName": long(1000), "address": long(1000)},
        card(),
        card(
            addresses=[{"street": "s", "city": "c", "zip": "z", "country": "c", "countryCode": "cc", "type": "HOME"}],
            birthday="1990-12-31",
            emails=[{"email": "e", "type": "WORK"}],
            org={"company": "c", "department": "d", "title": "t"},
            phones=[{"phone": "p", "type": "IPHONE", "waId": "w"}],
            urls=[{"url": "u", "type": "HOME"}],
        ),
    ],
    "push": [
        {},
        {"text": long(2000)},
        {"customPayload": {"a": {"b": [1, None, True, "x"]}}},
        {"customPayload": {"k": long(3992)}},
        options(vibrationEnabled=True, soundEnabled=False, soundName="s", badge=0, category="c", title="t"),
        options(contentUrl=URL, webViewUrl=URL, inAppStyle="MODAL", isSilent=True, inboxTopic="i", badge=2**31 - 1),
        {"targetOnlyPrimaryDevices": True, "includeNotificationsDisabledDevices": False},
        {"personSubscriptions": ["a", "b"], "deviceSubscriptions": ["a"]},
    ],
    "line": [
        {"text": "x"},
        {"type": "TEXT", "text": "x"},
        {"type": "IMAGE", "url": URL, "thumbnailUrl": URL},
        {"type": "VIDEO", "url": long(1000, "https://example.com/")},
        {"type": "AUDIO", "url": URL, "duration": 2**63 - 1},
        {"type": "STICKER", "packageId": "1", "stickerId": "2"},
        flex(),
        {**flex(), "altText": long(400)},
        {"type": "FLEX", "altText": "x", "contents": {"type": "CAROUSEL", "contents": [{"type": "BUBBLE"}]}},
        flex(direction="RIGHT_TO_LEFT", hero={"url": URL, "size": "FULL", "aspectMode": "COVER"}),
        flex(styles={"header": {"backgroundColor": "#000000", "separator": True, "separatorColor": "#FFFFFF"}}),
        flex(header={"type": "BOX", "layout": "BASELINE", "contents": []}),
        box(TEXT, {"type": "FILLER"}, {"type": "SPACER", "size": "MD"}, {"type": "SEPARATOR", "margin": "XS"}),
        box({**TEXT, "wrap": True, "maxLines": 0, "flex": 10, "weight": "BOLD", "align": "START"}),
        box({"type": "IMAGE", "url": URL, "gravity": "TOP", "aspectRatio": "1:1"}),
        box({"type": "ICON", "url": URL, "size": "XXS"}, TEXT, layout="BASELINE"),
        box({"type": "BUTTON", "action": {"type": "URI", "uri": long(1000), "label": long(20)}, "style": "LINK"}),
        box({"type": "BUTTON", "action": {"type": "POSTBACK", "data": long(300), "displayText": long(300)}}),
        box({"type": "BUTTON", "action": {"type": "MESSAGE", "text": long(300)}, "height": "SM"}),
        box({"type": "BOX", "layout": "HORIZONTAL", "contents": [TEXT]}, spacing="NONE", margin="XXL", flex=0),
    ],
    "vKontakte": [{"text": "x"}, {"templateName": "t", "templateData": {"name": "x", "count": 1}}],
    "kakaoAlim": [
        {"text": long(1000), "templateCode": long(30), "title": long(50), "groupKey": "g"},
        alim(buttonText=long(28)),
        alim(type="URL", buttonUrl=URL, buttonUrlMobile=long(500), buttonUrlPc=URL, target="out"),
        alim(type="APP_LINK", androidScheme="a", iosScheme="i", buttonUrlMobile=URL, buttonUrlPc=URL),
        alim(type="CHATBOT_SWITCH", chatExtra=long(50), chatEvent=long(50)),
        *(alim(type=name) for name in ("DELIVERY_TRACKING", "MESSAGE_DELIVERY", "BOT_KEYWORD", "ADD_CHANNEL")),
        {**ALIM, "buttons": [{"buttonText": "b"}] * 5},
    ],
    "kakaoChingu": [
        {"text": "x", "imageUrl": long(250), "imageLink": long(250), "isPromotional": False},
        chingu(),
        chingu(type="URL", buttonUrl=URL),
        chingu(type="APP_LINK", androidScheme="a", iosScheme="i"),
        *(chingu(type=name) for name in ("MESSAGE_DELIVERY", "BOT_KEYWORD")),
    ],
    "facebook": [{"text": "x"}, {"type": "IMAGE", "url": URL}, {"type": "FILE", "url": URL, "text": "x"}],
}

SMS_SIZE: Final = "text must fit into 25 SMS parts and 4000 bytes"
TWO_WEEKS: Final = "validityPeriod must be 35 seconds to 336 hours"
TWO_DAYS: Final = "validityPeriod must be 30 seconds to 48 hours"
COMBINATION: Final = "must be one of: text; image; file; text and button; text, image and button"
BOTH_OF_BUTTON: Final = "buttonText and buttonURL go together"
WITH_FILE: Final = "fileName and fileType go with fileUrl"
SOMETHING: Final = "needs one of text, templateName, a file's URL, latitude and longitude, contacts"
PLACE: Final = "latitude and longitude go together"
ONCE: Final = "must not name anything twice"
BODY: Final = "line.contents.body.contents[0]"

INVALID: Final[dict[str, list[tuple[Fields, str, str]]]] = {
    "sms": [
        ({}, "sms.text", REQUIRED),
        ({"text": ""}, "sms.text", EMPTY),
        ({"text": 5}, "sms.text", STRING),
        ({"text": long(3826)}, "sms", SMS_SIZE),
        ({"text": "x", "language": {}}, "sms.language.languageCode", REQUIRED),
        (
            {"text": "x", "language": {"languageCode": "DE"}},
            "sms.language.languageCode",
            "should be 'NONE', 'TR', 'ES', 'PT' or 'AUTODETECT'",
        ),
        ({"text": "x", "regional": {"indiaDlt": {}}}, "sms.regional.indiaDlt.principalEntityId", REQUIRED),
        ({"text": "x", "regional": {"korea": {"title": long(67)}}}, "sms.regional.korea.title", at_most(66)),
        ({"text": "x", "regional": {"turkey": {}}}, "sms.regional.turkey", UNKNOWN),
        (lasting(29, "SECONDS"), "sms", TWO_DAYS),
        (lasting(172_801, "SECONDS"), "sms", TWO_DAYS),
        (lasting(0), "sms", TWO_DAYS),
        (lasting(2881), "sms", TWO_DAYS),
        (lasting(49, "HOURS"), "sms", TWO_DAYS),
        (lasting(3, "DAYS"), "sms", TWO_DAYS),
        (lasting(29_999, "MILLISECONDS"), "sms", TWO_DAYS),
        (lasting(29_999_999, "MICROSECONDS"), "sms", TWO_DAYS),
        (lasting(29_999_999_999, "NANOSECONDS"), "sms", TWO_DAYS),
        (lasting(1.5), "sms.validityPeriod", WHOLE),
        (lasting("soon"), "sms.validityPeriod", WHOLE),
    ],
    "viber": [
        ({}, "viber", COMBINATION),
        ({"text": long(1001)}, "viber.text", at_most(1000)),
        ({"text": "x", "imageURL": URL}, "viber", COMBINATION),
        ({"text": "x", "fileUrl": URL}, "viber", COMBINATION),
        ({"imageURL": URL, "fileUrl": URL}, "viber", COMBINATION),
        ({"imageURL": URL, **BUTTON}, "viber", COMBINATION),
        (BUTTON, "viber", COMBINATION),
        ({"text": "x", "buttonText": "Go"}, "viber", BOTH_OF_BUTTON),
        ({"text": "x", "buttonURL": URL}, "viber", BOTH_OF_BUTTON),
        ({"text": "x", "fileName": "x.pdf"}, "viber", WITH_FILE),
        ({"text": "x", "fileType": "pdf"}, "viber", WITH_FILE),
        ({"imageURL": "ftp://example.com"}, "viber.imageURL", WEB),
        ({"imageURL": long(1001, "https://example.com/")}, "viber.imageURL", at_most(1000)),
        ({"fileUrl": URL, "fileName": long(26)}, "viber.fileName", at_most(25)),
        ({"text": "x", **BUTTON, "buttonText": long(31)}, "viber.buttonText", at_most(30)),
        *(
            ({"text": "x", **BUTTON, "buttonURL": target}, "viber.buttonURL", TARGET)
            for target in (
                "x",
                "tel:",
                "tel:+",
                "tel:--",
                "tel:+41 79",
                "tel:++41",
                "tel:41x",
                "ftp://x",
                "mailto:a@b.co",
            )
        ),
        ({"imageUrl": URL}, "viber.imageUrl", UNKNOWN + ": write imageURL"),
        ({"text": "x", "trackingData": long(101)}, "viber.trackingData", at_most(100)),
        ({"text": "x", "isPromotional": "yes"}, "viber.isPromotional", TRUTH),
        (lasting(337, "HOURS"), "viber", TWO_WEEKS),
        (lasting(15, "DAYS"), "viber", TWO_WEEKS),
        (lasting(34, "SECONDS"), "viber", TWO_WEEKS),
        (lasting(31, "SECONDS"), "viber", TWO_WEEKS),
        (lasting(34_999, "MILLISECONDS"), "viber", TWO_WEEKS),
        *((leading(to), "viber.buttonURL", TARGET) for to in ("https:///x", "http://?x", "tel:", "tel:+41 79", "/x")),
        (lasting(0), "viber", TWO_WEEKS),
    ],
    "voice": [
        ({}, "voice.text", REQUIRED),
        ({"text": "?!…"}, "voice.text", "must hold more than punctuation"),
        ({"text": long(1401)}, "voice.text", at_most(1400)),
        ({"text": "x", "language": "English!"}, "voice.language", "must be the code of a language, such as en"),
    ],
    "email": [
        ({}, "email.text", REQUIRED),
        ({"text": "x", "subject": ""}, "email.subject", EMPTY),
        ({"text": "x", "subject": long(1001)}, "email.subject", at_most(1000)),
    ],
    "whatsApp": [
        ({}, "whatsApp", SOMETHING),
        ({"text": long(4097)}, "whatsApp.text", at_most(4096)),
        ({"templateData": ["a"]}, "whatsApp", SOMETHING),
        ({"templateName": "t", "templateData": [1]}, "whatsApp.templateData[0]", STRING),
        ({"templateName": "t", "mediaTemplateData": {}}, "whatsApp.mediaTemplateData.body", REQUIRED),
        (media(body={}), "whatsApp.mediaTemplateData.body.placeholders", REQUIRED),
        (media(header={"imageUrl": "x"}), "whatsApp.mediaTemplateData.header.imageUrl", WEB),
        (
            media(header={"latitude": 91}),
            "whatsApp.mediaTemplateData.header.latitude",
            "should be less than or equal to 90",
        ),
        (
            media(buttons=[{"urlPlaceholder": long(1501)}]),
            "whatsApp.mediaTemplateData.buttons[0].urlPlaceholder",
            at_most(1500),
        ),
        (
            media(buttons=[{"quickReplyPayload": long(129)}]),
            "whatsApp.mediaTemplateData.buttons[0].quickReplyPayload",
            at_most(128),
        ),
        *((only(name, "x"), f"whatsApp.{name}", WEB) for name in ("fileUrl", "imageUrl", "audioUrl", "videoUrl")),
        ({"imageUrl": long(2049, "https://example.com/")}, "whatsApp.imageUrl", at_most(2048)),
        ({"text": "x", "latitude": 1}, "whatsApp", PLACE),
        ({"latitude": 1, "longitude": -181}, "whatsApp.longitude", "should be greater than or equal to -180"),
        ({"text": "x", "locationName": long(1001)}, "whatsApp.locationName", at_most(1000)),
        ({"text": "x", "address": long(1001)}, "whatsApp.address", at_most(1000)),
        ({"contacts": []}, "whatsApp.contacts", "should have at least 1 item after validation, not 0"),
        ({"contacts": [{}]}, "whatsApp.contacts[0].name", REQUIRED),
        (card(name={"firstName": "A"}), "whatsApp.contacts[0].name.formattedName", REQUIRED),
        (card(birthday="31.12.1990"), "whatsApp.contacts[0].birthday", "must be a date, such as 1990-12-31"),
        (
            card(phones=[{"type": "FAX"}]),
            "whatsApp.contacts[0].phones[0].type",
            "should be 'CELL', 'MAIN', 'IPHONE', 'HOME' or 'WORK'",
        ),
        (card(emails=[{"type": "CELL"}]), "whatsApp.contacts[0].emails[0].type", "should be 'HOME' or 'WORK'"),
    ],
    "push": [
        ({"text": ""}, "push.text", EMPTY),
        ({"text": long(2001)}, "push.text", at_most(2000)),
        ({"customPayload": {"k": long(3993)}}, "push.customPayload", "must have at most 4000 characters as JSON"),
        ({"customPayload": []}, "push.customPayload", "should be an object"),
        (options(badge=-1), "push.notificationOptions.badge", "should be greater than or equal to 0"),
        (options(badge=2**31), "push.notificationOptions.badge", "should be less than or equal to 2147483647"),
        (options(inAppStyle="POPUP"), "push.notificationOptions.inAppStyle", "should be 'BANNER' or 'MODAL'"),
        (options(contentUrl="x"), "push.notificationOptions.contentUrl", WEB),
        (options(webViewUrl="x"), "push.notificationOptions.webViewUrl", WEB),
        (options(soundName=""), "push.notificationOptions.soundName", EMPTY),
        (options(isSilent="no"), "push.notificationOptions.isSilent", TRUTH),
        ({"personSubscriptions": ["a", "a"]}, "push.personSubscriptions", ONCE),
        ({"deviceSubscriptions": ["a", "a"]}, "push.deviceSubscriptions", ONCE),
        ({"targetOnlyPrimaryDevices": 1}, "push.targetOnlyPrimaryDevices", TRUTH),
    ],
    "line": [
        ({}, "line", "type TEXT needs text"),
        ({"type": "IMAGE"}, "line", "type IMAGE needs url"),
        ({"type": "VIDEO", "text": "x"}, "line", "type VIDEO needs url"),
        ({"type": "AUDIO"}, "line", "type AUDIO needs url"),
        ({"type": "STICKER", "packageId": "1"}, "line", "type STICKER needs stickerId"),
        ({"type": "FLEX"}, "line", "type FLEX needs altText, contents"),
        ({"type": "IMAGE", "url": "x"}, "line.url", WEB),
        ({"type": "IMAGE", "url": URL, "thumbnailUrl": "x"}, "line.thumbnailUrl", WEB),
        ({"type": "AUDIO", "url": URL, "duration": -1}, "line.duration", "should be greater than or equal to 0"),
        ({**flex(), "altText": long(401)}, "line.altText", at_most(400)),
        ({**flex(), "contents": {}}, "line.contents", "needs a type, and a box a layout"),
        (
            {"type": "FLEX", "altText": "x", "contents": {"type": "CAROUSEL", "contents": []}},
            "line.contents.contents",
            "should have at least 1 item after validation, not 0",
        ),
        (flex(direction="UP"), "line.contents.direction", "should be 'LEFT_TO_RIGHT' or 'RIGHT_TO_LEFT'"),
        (flex(hero={}), "line.contents.hero.url", REQUIRED),
        (flex(styles={"tail": {}}), "line.contents.styles.tail", UNKNOWN),
        (flex(body={"contents": []}), "line.contents.body", "needs a type, and a box a layout"),
        *((box(component), BODY, "needs a type, and a box a layout") for component in NO_COMPONENTS),
        (flex(body=1), "line.contents.body", "should be an object"),
        (box({"type": "TEXT"}), f"{BODY}.text", REQUIRED),
        (box({**TEXT, "flex": 11}), f"{BODY}.flex", "should be less than or equal to 10"),
        (box({**TEXT, "maxLines": -1}), f"{BODY}.maxLines", "should be greater than or equal to 0"),
        (box({**TEXT, "url": URL}), f"{BODY}.url", UNKNOWN),
        (box({**TEXT, "TEXT": "x"}), f"{BODY}.TEXT", UNKNOWN),
        (box({"type": "BUTTON"}), f"{BODY}.action", REQUIRED),
        (box({"type": "BUTTON", "action": {"type": "URI"}}), f"{BODY}.action.uri", REQUIRED),
        (
            box({"type": "BUTTON", "action": {"type": "URI", "uri": "x", "label": long(21)}}),
            f"{BODY}.action.label",
            at_most(20),
        ),
        (
            box({"type": "BUTTON", "action": {"type": "POSTBACK", "data": long(301)}}),
            f"{BODY}.action.data",
            at_most(300),
        ),
    ],
    "vKontakte": [
        ({}, "vKontakte", "needs text or templateName"),
        ({"templateData": {}}, "vKontakte", "needs text or templateName"),
        ({"templateName": "t", "templateData": ["x"]}, "vKontakte.templateData", "should be an object"),
    ],
    "kakaoAlim": [
        ({"text": "x"}, "kakaoAlim.templateCode", REQUIRED),
        ({"templateCode": "c"}, "kakaoAlim.text", REQUIRED),
        ({**ALIM, "text": long(1001)}, "kakaoAlim.text", at_most(1000)),
        ({**ALIM, "templateCode": long(31)}, "kakaoAlim.templateCode", at_most(30)),
        ({**ALIM, "title": long(51)}, "kakaoAlim.title", at_most(50)),
        ({**ALIM, "buttons": []}, "kakaoAlim.buttons", "should have at least 1 item after validation, not 0"),
        (
            {**ALIM, "buttons": [{"buttonText": "b"}] * 6},
            "kakaoAlim.buttons",
            "should have at most 5 items after validation, not 6",
        ),
        ({**ALIM, "buttons": [{"type": "URL"}]}, "kakaoAlim.buttons[0].buttonText", REQUIRED),
        (alim(buttonText=long(29)), "kakaoAlim.buttons[0].buttonText", at_most(28)),
        (alim(buttonUrlPc=long(501)), "kakaoAlim.buttons[0].buttonUrlPc", at_most(500)),
        (alim(type="URL", target="in"), "kakaoAlim.buttons[0].target", "should be 'out'"),
        (alim(chatExtra=long(51)), "kakaoAlim.buttons[0].chatExtra", at_most(50)),
        *(
            (alim(type=name, **{field: "x"}), "kakaoAlim.buttons[0]", f"type {name} does not take {field}")
            for name, field in [
                ("URL", "chatExtra"),
                ("APP_LINK", "chatEvent"),
                ("CHATBOT_SWITCH", "iosScheme"),
                ("DELIVERY_TRACKING", "buttonUrl"),
                ("MESSAGE_DELIVERY", "buttonUrlPc"),
                ("BOT_KEYWORD", "androidScheme"),
                ("ADD_CHANNEL", "buttonUrlMobile"),
            ]
        ),
    ],
    "kakaoChingu": [
        ({}, "kakaoChingu.text", REQUIRED),
        ({"text": "x", "imageUrl": long(251)}, "kakaoChingu.imageUrl", at_most(250)),
        ({"text": "x", "imageLink": ""}, "kakaoChingu.imageLink", EMPTY),
        (chingu(type="URL"), "kakaoChingu.buttons[0]", "type URL needs buttonUrl"),
        (chingu(type="APP_LINK", iosScheme="i"), "kakaoChingu.buttons[0]", "type APP_LINK needs androidScheme"),
        (
            chingu(type="BOT_KEYWORD", buttonUrl="x"),
            "kakaoChingu.buttons[0]",
            "type BOT_KEYWORD does not take buttonUrl",
        ),
        (
            chingu(type="MESSAGE_DELIVERY", iosScheme="x"),
            "kakaoChingu.buttons[0]",
            "type MESSAGE_DELIVERY does not take iosScheme",
        ),
        (chingu(target="out"), "kakaoChingu.buttons[0].target", UNKNOWN),
    ],
    "facebook": [
        ({"type": "TEXT"}, "facebook", "needs text or url"),
        ({"type": "IMAGE", "url": "x"}, "facebook.url", WEB),
        ({"type": "POEM", "text": "x"}, "facebook.type", "should be 'TEXT', 'IMAGE', 'AUDIO', 'VIDEO' or 'FILE'"),
    ],
}


def posted(channel: str, given: Fields) -> object:
    """Give what is posted on a channel, or the faults of what is refused."""
    reading = parsed(a_body({"sms": ..., channel: given}))
    if reading.request is None:
        (rejection,) = reading.rejections
        return [(fault.path, fault.message) for fault in rejection.faults]
    (call,) = plan(reading.request, a_history(), Origin(), Policy(RetryPolicy()))
    return json.loads(call.to_json())[channel]


@pytest.mark.parametrize("channel", VALID)
def test_valid_content_is_posted_unchanged(channel: str) -> None:
    assert [given for given in VALID[channel] if posted(channel, given) != given] == []


@pytest.mark.parametrize("channel", INVALID)
def test_a_field_that_a_channel_does_not_have_is_a_fault(channel: str) -> None:
    reported = [(given, posted(channel, given), [(path, message)]) for given, path, message in INVALID[channel]]

    assert [row for row in reported if row[1] != row[2]] == []


@pytest.mark.parametrize("text", [long(3826), "€" * 1901, "ж" * 1676, "😀" * 826])
def test_an_sms_of_more_than_25_parts_is_a_fault(text: str) -> None:
    (rejection,) = parsed(a_body(sms={"text": text})).rejections

    assert [fault.message for fault in rejection.faults] == [SMS_SIZE]
