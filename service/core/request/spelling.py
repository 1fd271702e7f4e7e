"""The right name of a field that a producer has misspelled: as another channel spells it, or in another style.

OMNI spells one thing in several ways: `viber.imageURL`, `whatsApp.imageUrl`, `line.url`.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, get_args

from service.core.omni.model import Strict
from service.core.request.body import RequestBody

_LONGEST: Final = 40
"""Characters. No field has a longer name, whatever its style."""

_FILE: Final = dict.fromkeys(("imageurl", "videourl", "audiourl", "fileurl", "mediaurl"), "url")
_PERSON: Final = {
    **dict.fromkeys(("phone", "mobile", "msisdn", "number"), "phoneNumber"),
    "mail": "emailAddress",
}
OTHER_NAMES: Final[Mapping[tuple[str, ...], Mapping[str, str]]] = {
    (): {**_PERSON, "subject": "mailSubject", "message": "text", "recipients": "destinations"},
    ("destinations",): {"id": "messageId"},
    ("destinations", "to"): {**_PERSON, "email": "emailAddress"},
    ("sms",): {"message": "text", "body": "text", "languagecode": "language.languageCode"},
    ("viber",): {"message": "text", "body": "text", "buttontitle": "buttonText"},
    ("voice",): {"message": "text", "languagecode": "language"},
    ("email",): {"mailsubject": "subject", "body": "text"},
    ("whatsApp",): {"message": "text", "body": "text", "languagecode": "language"},
    ("push",): {"message": "text", "body": "text", "title": "notificationOptions.title"},
    ("line",): _FILE,
    ("facebook",): _FILE,
}
"""By the place of a field: its names in other places, without case and separators, and its name there."""


def spelling(loc: tuple[int | str, ...]) -> str | None:
    """Return the right spelling of the last name of `loc`; None if no field is like it."""
    name = loc[-1] if loc else None
    if not isinstance(name, str) or len(name) > _LONGEST:
        return None
    return _names(tuple(one for one in loc[:-1] if isinstance(one, str))).get(_plain(name))


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").casefold()


@lru_cache(256)  # bounded, since a hostile body may nest without end
def _names(parents: tuple[str, ...]) -> Mapping[str, str]:
    """Return the fields of one object by their plain names; none of a LINE component, which may be of many types."""
    models: list[type[Strict]] = [RequestBody]
    for parent in parents:
        fields = [field for model in models for field in model.model_fields.values() if field.alias == parent]
        models = list(dict.fromkeys(model for field in fields for model in _models(field.annotation)))
    if len(models) != 1:
        return MappingProxyType({})
    own = {_plain(alias): alias for field in models[0].model_fields.values() if (alias := field.alias)}
    return MappingProxyType({**OTHER_NAMES.get(parents, {}), **own})


def _models(annotation: Any) -> list[type[Strict]]:  # noqa: ANN401 - an annotation may be anything
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        return [annotation]
    return [model for one in get_args(annotation) for model in _models(one)]
