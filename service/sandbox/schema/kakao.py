"""The inside of the two Kakao channels: AlimTalk, which follows templates, and ChinguTalk, which is free."""

from collections.abc import Collection, Mapping

from service.sandbox.schema.check import Choice, Rule, Several, Shape
from service.sandbox.schema.field import at_most, flag, one_of, string, text

Fields = dict[str, Rule]

_LINK = at_most(500, least=1)
_SCHEMES: Fields = {"androidScheme": _LINK, "iosScheme": _LINK}
_WEB_LINKS: Fields = {"buttonUrlMobile": _LINK, "buttonUrlPc": _LINK}
_CHAT: Fields = dict.fromkeys(("chatExtra", "chatEvent"), at_most(50))


def _buttons(kinds: Mapping[str, tuple[Fields, Collection[str]]]) -> Several:
    """One to five buttons; the examples in XML leave out `type`, and such a button may have any kind's fields."""
    label: Fields = {"buttonText": at_most(28, least=1)}
    rules = {kind: Shape({**label, **fields}, {"buttonText", *needed}) for kind, (fields, needed) in kinds.items()}
    any_kind = {name: rule for fields, _ in kinds.values() for name, rule in fields.items()}
    return Several(Choice("type", rules, Shape({**label, **any_kind}, label)), least=1, most=5)


KAKAO_ALIM: Fields = {
    "text": at_most(1000, least=1),
    "templateCode": at_most(30, least=1),
    "title": at_most(50),
    "groupKey": string,
    "buttons": _buttons(
        {
            "URL": ({"buttonUrl": _LINK, **_WEB_LINKS, "target": one_of("out")}, ()),
            "APP_LINK": ({**_SCHEMES, **_WEB_LINKS}, ()),
            "CHATBOT_SWITCH": (_CHAT, _CHAT),
            **dict.fromkeys(("DELIVERY_TRACKING", "MESSAGE_DELIVERY", "BOT_KEYWORD", "ADD_CHANNEL"), ({}, ())),
        }
    ),
}
KAKAO_CHINGU: Fields = {
    "text": text,
    "imageUrl": at_most(250, least=1),
    "imageLink": at_most(250, least=1),
    "isPromotional": flag,
    "buttons": _buttons(
        {
            "URL": ({"buttonUrl": _LINK}, {"buttonUrl"}),
            "APP_LINK": (_SCHEMES, _SCHEMES),
            **dict.fromkeys(("BOT_KEYWORD", "MESSAGE_DELIVERY"), ({}, ())),
        }
    ),
}
