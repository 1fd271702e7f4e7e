"""The content of every channel, validated by `parse_advanced`."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from service.sandbox.schema.request import Refusal, parse_advanced
from service.sandbox.wire.body import read
from service.sandbox.wire.format import Format
from tests.unit.specification import FILE

NOW = datetime(2026, 1, 1, tzinfo=UTC)
IMAGE = "https://example.com/i.png"
BUTTON = {"buttonText": "b", "buttonURL": "tel:41793026727"}
CONTACT = {"name": {"firstName": "a", "formattedName": "a b"}, "phones": [{"phone": "1", "type": "WORK"}]}
TEXT_IN_A_BOX = {"type": "BOX", "layout": "VERTICAL", "contents": [{"type": "TEXT", "text": "t", "weight": "BOLD"}]}
BUBBLE = {
    "type": "BUBBLE",
    "direction": "LEFT_TO_RIGHT",
    "hero": {"url": IMAGE, "size": "FULL", "action": {"type": "URI", "label": "l", "uri": IMAGE}},
    "body": {"layout": "HORIZONTAL", "contents": [TEXT_IN_A_BOX]},
}
ALIM = {"text": "t", "templateCode": "c"}


def errors_of(**contents: Any) -> set[str]:  # noqa: ANN401  # JSON
    parsed = parse_advanced({"destinations": [{"to": {"phoneNumber": "41793026727"}}], **contents}, NOW)
    return set(parsed.errors) if isinstance(parsed, Refusal) else set()


@pytest.mark.parametrize(
    ("channel", "content"),
    [
        ("sms", {"text": "t", "regional": {"indiaDlt": {"principalEntityId": "p"}, "korea": {"title": "t"}}}),
        ("sms", {"text": "t", "language": {"languageCode": "TR", "lockingShift": True}}),
        ("viber", {"text": "t", "trackingData": "d", "forcePrimaryDevice": True}),
        ("viber", {"imageURL": IMAGE}),
        ("viber", {"fileUrl": "https://example.com/f", "fileName": "f.pdf", "fileType": "pdf"}),
        ("viber", {"text": "t", **BUTTON}),
        ("viber", {"text": "t", "imageURL": IMAGE, **BUTTON}),
        ("voice", {"text": "t" * 1400, "language": "en"}),
        ("email", {"text": "t", "subject": ""}),
        ("whatsApp", {"templateName": "n", "language": "en", "templateData": ["a", "b"]}),
        ("whatsApp", {"templateName": "n", "mediaTemplateData": {"body": {"placeholders": []}}}),
        ("whatsApp", {"text": "t", "videoUrl": "https://example.com/v"}),
        ("whatsApp", {"latitude": 45.8, "longitude": -15, "locationName": "n", "address": "a"}),
        ("whatsApp", {"contacts": [CONTACT]}),
        ("push", {"text": "t", "customPayload": {"a": {"b": [1]}}, "personSubscriptions": ["a", "b"]}),
        ("push", {"text": "t", "notificationOptions": {"badge": 1, "inAppStyle": "MODAL", "isSilent": False}}),
        ("line", {"text": "t"}),
        ("line", {"type": "STICKER", "packageId": "1", "stickerId": "1"}),
        ("line", {"type": "AUDIO", "url": "https://example.com/a", "duration": 4000}),
        ("line", {"type": "FLEX", "altText": "a", "contents": BUBBLE}),
        ("line", {"type": "FLEX", "contents": {"type": "CAROUSEL", "contents": [BUBBLE]}}),
        ("vKontakte", {"templateName": "n", "templateData": {"a": "b"}}),
        ("kakaoAlim", {**ALIM, "buttons": [{"type": "URL", "buttonText": "b", "buttonUrlPc": IMAGE}] * 5}),
        ("kakaoChingu", {"text": "t", "buttons": [{"buttonText": "b", "androidScheme": "a://b"}]}),
        ("facebook", {"type": "IMAGE", "url": IMAGE}),
        ("parseco", {"text": "t", "validityPeriod": 5}),
    ],
)
def test_content_as_described_is_valid(channel: str, content: dict[str, Any]) -> None:
    assert errors_of(**{channel: content}) == set()


@pytest.mark.parametrize(
    ("channel", "content", "path"),
    [
        ("sms", {"text": "t", "regional": {"indiaDlt": {}}}, ".regional.indiaDlt.principalEntityId"),
        ("sms", {"text": "t", "regional": {"korea": {"title": "t" * 67}}}, ".regional.korea.title"),
        ("sms", {"text": "t", "flash": True}, ".flash"),
        ("viber", {"text": "t" * 1001}, ".text"),
        ("viber", {"text": "t", "imageURL": IMAGE}, ""),
        ("viber", {"text": "t", "fileUrl": IMAGE}, ""),
        ("viber", {"text": "t", "buttonText": "b"}, ""),
        ("viber", {"imageURL": IMAGE, **BUTTON}, ""),
        ("viber", {"fileUrl": "file:///etc/hosts"}, ".fileUrl"),
        ("viber", {"fileUrl": IMAGE, "fileType": "exe"}, ".fileType"),
        ("voice", {"text": "t" * 1401}, ".text"),
        ("email", {"text": "t", "html": "<p>"}, ".html"),
        ("whatsApp", {"latitude": 1}, ".text"),
        ("whatsApp", {"latitude": 91, "longitude": 1}, ".latitude"),
        ("whatsApp", {"text": "t", "previewUrl": 1}, ".previewUrl"),
        ("whatsApp", {"templateName": "n", "mediaTemplateData": {"header": {}}}, ".mediaTemplateData.body"),
        (
            "whatsApp",
            {"templateName": "n", "mediaTemplateData": {"body": {"placeholders": [""]}}},
            ".mediaTemplateData.body.placeholders[0]",
        ),
        ("whatsApp", {"contacts": [{"name": {"firstName": "a"}}]}, ".contacts[0].name.formattedName"),
        ("push", {"text": "t" * 2001}, ".text"),
        ("push", {"text": "t", "deviceSubscriptions": ["a", "a"]}, ".deviceSubscriptions"),
        ("line", {"type": "STICKER", "packageId": "1"}, ".stickerId"),
        ("line", {"type": "SONG", "text": "t"}, ".type"),
        ("line", {"type": "FLEX", "contents": {**BUBBLE, "body": {"layout": "ROUND"}}}, ".contents.body.layout"),
        ("vKontakte", {"templateData": {}}, ".text"),
        ("vKontakte", {"text": "t", "templateData": ["a"]}, ".templateData"),
        ("kakaoAlim", {**ALIM, "buttons": []}, ".buttons"),
        (
            "kakaoAlim",
            {**ALIM, "buttons": [{"type": "CHATBOT_SWITCH", "buttonText": "b", "chatExtra": "e"}]},
            ".buttons[0].chatEvent",
        ),
        ("kakaoChingu", {"text": "t", "buttons": [{"type": "ADD_CHANNEL", "buttonText": "b"}]}, ".buttons[0].type"),
        ("parseco", "text", ""),
    ],
)
def test_other_content_is_refused_at_its_path(channel: str, content: object, path: str) -> None:
    assert errors_of(**{channel: content}) == {f"{channel}{path}"}


@pytest.mark.skipif(not FILE, reason="RELAY_TEST_OMNI_SPEC names no copy of the vendor's specification")
def test_every_example_of_the_specification_is_valid() -> None:
    specification = json.loads(Path(FILE).read_text())
    bodies = specification["paths"]["/omni/1/advanced"]["post"]["requestBody"]["content"]
    refused = {}
    for media_type, body in bodies.items():
        for name, example in body["examples"].items():
            value = example["value"]
            raw = value if isinstance(value, str) else json.dumps(value)
            parsed = parse_advanced(read(raw.encode(), Format(media_type)), NOW)
            if isinstance(parsed, Refusal):
                refused[media_type, name] = parsed.errors

    assert sum(len(body["examples"]) for body in bodies.values()) > 0
    assert refused == {}
