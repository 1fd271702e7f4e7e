"""What each channel takes, and what it does not; one table a channel."""

import json

import pytest
from pydantic import ValidationError

from service.words.omni.channel.facebook import Facebook
from service.words.omni.channel.kakao import KakaoAlim, KakaoChingu
from service.words.omni.channel.line import Line
from service.words.omni.channel.push import Push
from service.words.omni.channel.sms import Sms
from service.words.omni.channel.step import Step
from service.words.omni.channel.viber import Viber
from service.words.omni.channel.vkontakte import VKontakte
from service.words.omni.channel.voice import Voice
from service.words.omni.channel.whatsapp import WhatsApp

URL = "https://example.com/x"


@pytest.mark.parametrize(
    ("channel", "given"),
    [
        (Facebook, {"text": "x"}),
        (Facebook, {"type": "IMAGE", "url": URL}),
        (VKontakte, {"text": "x"}),
        (VKontakte, {"templateName": "t", "templateData": {"name": "x", "count": 1}}),
        (Line, {"text": "x"}),
        (Line, {"type": "IMAGE", "url": URL}),
        (Line, {"type": "STICKER", "packageId": "1", "stickerId": "2"}),
        (Viber, {"text": "x"}),
        (Viber, {"imageURL": URL}),
        (Viber, {"fileUrl": URL, "fileName": "x.pdf", "fileType": "pdf"}),
        (Viber, {"text": "x", "buttonText": "Call", "buttonURL": "tel:+41793026727"}),
        (Viber, {"text": "x", "imageURL": URL, "buttonText": "Go", "buttonURL": URL}),
        (WhatsApp, {"text": "x"}),
        (WhatsApp, {"templateName": "t", "language": "en", "templateData": ["a", "b"]}),
        (WhatsApp, {"latitude": 90, "longitude": -180}),
        (WhatsApp, {"contacts": [{"name": {"firstName": "A", "formattedName": "A B"}}]}),
        (WhatsApp, {"imageUrl": URL, "text": "caption"}),
        (Push, {"text": "x", "customPayload": {"a": {"b": [1, None]}}, "personSubscriptions": ["a", "b"]}),
        (Push, {"text": "x", "customPayload": {"k": "x" * 3992}}),
        (KakaoAlim, {"text": "x", "templateCode": "c"}),
        (KakaoAlim, {"text": "x", "templateCode": "c", "buttons": [{"buttonText": "b"}]}),
        (
            KakaoAlim,
            {"text": "x", "templateCode": "c", "buttons": [{"type": "URL", "buttonText": "b", "buttonUrl": URL}]},
        ),
        (
            KakaoChingu,
            {"text": "x", "buttons": [{"type": "APP_LINK", "buttonText": "b", "androidScheme": "a", "iosScheme": "i"}]},
        ),
        (Voice, {"text": "Hello!", "language": "pt-br"}),
        (Sms, {"text": "x", "regional": {"indiaDlt": {"principalEntityId": "1"}, "korea": {"title": "t"}}}),
    ],
)
def test_what_a_channel_takes_is_posted_as_it_came(channel: type[Step], given: dict[str, object]) -> None:
    read = channel.model_validate_json(json.dumps(given))

    assert json.loads(read.model_dump_json(by_alias=True, exclude_none=True)) == given


@pytest.mark.parametrize(
    ("channel", "given", "fault"),
    [
        (Facebook, {"type": "TEXT"}, "needs text or url"),
        (VKontakte, {"templateData": {}}, "needs text or templateName"),
        (Line, {}, "type TEXT needs text"),
        (Line, {"type": "STICKER", "packageId": "1"}, "type STICKER needs stickerId"),
        (Line, {"type": "FLEX"}, "type FLEX needs altText, contents"),
        (Viber, {}, "must be one of"),
        (Viber, {"text": "x", "imageURL": URL}, "must be one of"),
        (Viber, {"text": "x", "fileUrl": URL}, "must be one of"),
        (Viber, {"text": "x", "buttonText": "Go"}, "go together"),
        (Viber, {"text": "x", "fileName": "x.pdf"}, "go with fileUrl"),
        (Viber, {"text": "x" * 1001}, "at most 1000"),
        (WhatsApp, {}, "needs one of"),
        (WhatsApp, {"text": "x", "latitude": 1}, "go together"),
        (WhatsApp, {"contacts": []}, "at least 1"),
        (Push, {"text": "x", "customPayload": {"k": "x" * 3993}}, "at most 4000 characters"),
        (Push, {"text": "x", "deviceSubscriptions": ["a", "a"]}, "must not name anything twice"),
        (
            KakaoAlim,
            {"text": "x", "templateCode": "c", "buttons": [{"type": "URL", "buttonText": "b", "chatExtra": "x"}]},
            "type URL does not take chatExtra",
        ),
        (KakaoChingu, {"text": "x", "buttons": [{"type": "URL", "buttonText": "b"}]}, "type URL needs buttonUrl"),
        (Voice, {"text": "?!…"}, "should match"),
        (Voice, {"text": "x" * 1401}, "at most 1400"),
        (Sms, {"text": "x" * 3826}, "25 SMS parts"),
    ],
)
def test_what_a_channel_does_not_take_is_told(channel: type[Step], given: dict[str, object], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        channel.model_validate_json(json.dumps(given))


@pytest.mark.parametrize(
    ("text", "more", "encoding", "units", "parts"),
    [
        ("x" * 160, {}, "gsm7", 160, 1),
        ("x" * 161, {}, "gsm7", 161, 2),
        ("x" * 3825, {}, "gsm7", 3825, 25),
        ("€" * 80, {}, "gsm7", 160, 1),
        ("ş" * 70, {}, "ucs2", 70, 1),
        ("ş" * 71, {}, "ucs2", 71, 2),
        ("😀" * 35, {}, "ucs2", 70, 1),
        ("ş" * 77, {"language": {"languageCode": "TR"}}, "national", 154, 1),
        ("ş" * 77, {"language": {"languageCode": "AUTODETECT"}}, "national", 154, 1),
        ("ş" * 70, {"language": {"languageCode": "ES"}}, "ucs2", 70, 1),
        ("ж" * 160, {"transliteration": "CYRILLIC"}, "gsm7", 160, 1),
        ("ж" * 70, {"transliteration": "NONE"}, "ucs2", 70, 1),
    ],
)
def test_an_sms_is_measured_as_it_goes_on_the_air(
    text: str, more: dict[str, object], encoding: str, units: int, parts: int
) -> None:
    assert tuple(Sms.model_validate({"text": text, **more}).size) == (encoding, units, parts)
