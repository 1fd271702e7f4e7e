"""Misspelled names of fields, and the names that the faults suggest."""

from typing import Final

import pytest

from service.core.request.spelling import OTHER_NAMES, spelling
from tests.support.builder import a_body, parsed

UNKNOWN: Final = "is not a field of a send request"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        # As another channel spells it
        ("viber.imageUrl", "imageURL"),
        ("viber.buttonUrl", "buttonURL"),
        ("viber.fileURL", "fileUrl"),
        ("whatsApp.imageURL", "imageUrl"),
        ("kakaoChingu.imageURL", "imageUrl"),
        ("line.imageUrl", "url"),
        ("line.videoUrl", "url"),
        ("facebook.imageUrl", "url"),
        ("email.mailSubject", "subject"),
        ("subject", "mailSubject"),
        ("voice.languageCode", "language"),
        ("sms.languageCode", "language.languageCode"),
        ("whatsApp.languageCode", "language"),
        ("push.title", "notificationOptions.title"),
        # As the shared fields are called elsewhere
        ("destinations[0].to.phone", "phoneNumber"),
        ("destinations[0].to.msisdn", "phoneNumber"),
        ("destinations[0].to.email", "emailAddress"),
        ("destinations[0].id", "messageId"),
        ("phone", "phoneNumber"),
        ("message", "text"),
        # In another style
        ("whatsapp", "whatsApp"),
        ("vkontakte", "vKontakte"),
        ("kakao_alim", "kakaoAlim"),
        ("phone_number", "phoneNumber"),
        ("phonenumber", "phoneNumber"),
        ("request-id", "requestId"),
        ("bulkID", "bulkId"),
        ("sendat", "sendAt"),
        ("notifyURL", "notifyUrl"),
        ("sms.validity_period", "validityPeriod"),
        ("sms.Text", "text"),
        ("destinations[0].messageID", "messageId"),
        ("push.notificationOptions.contentURL", "contentUrl"),
        ("whatsApp.mediaTemplateData.header.imageURL", "imageUrl"),
        ("kakaoChingu.buttons[0].buttonURL", "buttonUrl"),
    ],
)
def test_a_misspelled_name_is_reported_with_the_right_one(path: str, name: str) -> None:
    loc = tuple(int(part) if part.isdigit() else part for part in path.replace("[", ".").replace("]", "").split("."))

    assert spelling(loc) == name


@pytest.mark.parametrize(
    "loc",
    [
        (),
        (0,),
        ("unheardOf",),
        ("x" * 1000,),
        ("sms", "imageUrl"),
        ("voice", "imageUrl"),
        ("nothing", "imageUrl"),
        ("line", "contents", "BUBBLE", "body", "contents", 0, "TEXT", "URL"),
        ("line", "contents", "contents", "contents", "contents", "URL"),
    ],
)
def test_a_name_that_is_like_no_other_is_reported_alone(loc: tuple[int | str, ...]) -> None:
    assert spelling(loc) is None


@pytest.mark.parametrize(
    ("parents", "name", "own"),
    [(parents, name, own) for parents, names in OTHER_NAMES.items() for name, own in names.items()],
)
def test_a_misspelled_name_is_no_field_and_the_suggested_one_is(parents: tuple[str, ...], name: str, own: str) -> None:
    assert spelling((*parents, name)) == own
    *within, field = own.split(".")
    assert spelling((*parents, *within, field.upper())) == field


def test_the_name_to_write_is_taken() -> None:
    """Else the message would lie: what it says is taken, and what was written is not."""
    body = a_body({"sms": ..., "viber": {"imageURL": "https://example.com/x.png"}})

    assert parsed(body).request is not None
    body = a_body({"sms": ..., "viber": {"imageUrl": "https://example.com/x.png"}})
    (rejection,) = parsed(body).rejections
    reported = [(fault.path, fault.message) for fault in rejection.faults]
    assert ("viber.imageUrl", f"{UNKNOWN}: write imageURL") in reported
