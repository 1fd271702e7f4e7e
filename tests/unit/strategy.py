"""What laws are tried on: requests as producers may write them, whole and broken."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st

from service.core.delivery import Delivery
from service.core.identity import message_id
from tests.support.builder import NOW
from tests.unit.content_strategy import channels, fields, joined, reporting, simple_content, small_texts

law: Final = settings(max_examples=20, deadline=None, derandomize=True)
"""The same examples on every run: a check of a change must not fail by chance."""

names = st.text(min_size=1, max_size=40)
lined_names = st.text('ab\n\r"\\,/\u2028', min_size=1, max_size=4)
"""Ids of the characters by which lists are joined and taken apart."""
phones = st.builds(
    "{}{}".format, st.sampled_from(["1", "39", "41", "44", "353"]), st.integers(1000, 10**12 - 1)
).filter(lambda number: not number.startswith("11"))
"""Numbers without a trunk zero; 0011 would be Australia's prefix."""
written_phones = st.builds(
    lambda prefix, phone, gap: prefix + phone[:2] + gap + phone[2:],
    st.sampled_from(["", "+", "00"]),
    phones,
    st.sampled_from(["", " ", "-", ".", " (", ") "]),
)
emails = st.builds(
    "{}@{}.example".format, st.text("abc+-0'", min_size=1, max_size=9), st.text("abc0", min_size=1, max_size=20)
)
instants = st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1)).map(  # noqa: DTZ001 - the zone is put on below
    lambda naive: naive.replace(microsecond=naive.microsecond // 1000 * 1000, tzinfo=UTC)
)


def _days_ahead(first: int, last: int) -> st.SearchStrategy[str]:
    milliseconds = st.integers(first * 86_400_000, last * 86_400_000)
    return milliseconds.map(lambda ahead: (NOW + timedelta(milliseconds=ahead)).isoformat(timespec="milliseconds"))


flat_addresses = st.one_of(
    fields({"phoneNumber": written_phones}, emailAddress=emails), fields({"emailAddress": emails})
)
addresses = st.one_of(
    flat_addresses,
    fields(
        {"pushRegistrationId": small_texts}, phoneNumber=written_phones, whatsAppUserId=st.just("US.13491208655302")
    ),
    fields({"whatsAppUserId": st.just("CH.x1")}),
)
request_ids = st.text(min_size=1, max_size=60)
copied_ids = st.builds(message_id, st.sampled_from(["order-1", "order\n1"]), st.text(max_size=3), st.integers(0, 3))
"""Ids as the relay makes them, which somebody read in an event and used again."""
message_ids = st.text(min_size=1, max_size=200) | lined_names | copied_ids
destinations = fields({"to": addresses}, messageId=message_ids)

shared_fields = joined(
    reporting,
    fields(
        requestId=request_ids | lined_names | st.sampled_from(["order-1", "order\n1"]),
        bulkId=st.text(min_size=1, max_size=100),
        scenarioKey=small_texts,
        sendAt=_days_ahead(-1000, 179),
        expiresAt=_days_ahead(300, 3000),
        onUnknown=st.sampled_from(["resend", "park"]),
        metadata=st.dictionaries(
            st.text(max_size=10) | st.sampled_from(["TENANT", "request_id"]), st.text(max_size=10), max_size=3
        ),
    ),
)
recipients = st.one_of(
    fields({"destinations": st.lists(destinations, min_size=1, max_size=4)}),
    joined(flat_addresses, fields(messageId=message_ids)),
)
bodies = joined(recipients, channels | simple_content, shared_fields)
"""Valid requests in each shape (but that two destinations may ask for the same messageId)."""


def as_xml_can_say(body: Mapping[str, object]) -> dict[str, object]:
    """Put another character for each that XML has none for; an object of free keys holds texts under names."""
    body = {name: _free(inner) if name in FREE else _sayable(inner) for name, inner in body.items()}
    return {name: _trimmed(inner) if name.endswith(_IDS) else inner for name, inner in body.items()}


FREE: Final = frozenset({"metadata", "customPayload", "templateData"})
"""Objects with keys of the producer's own (`templateData` of WhatsApp is a list)."""
_IDS: Final = ("Id", "Key", "Code", "Url", "URL", "uri", "url", "language")
"""How the names of fields end around which XML has no white space."""
_UNSAYABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_UNNAMEABLE: Final = re.compile("[^A-Za-z0-9_.-]")


def _free(value: object) -> object:
    if not isinstance(value, dict):
        return _sayable(value)
    return {"k" + _UNNAMEABLE.sub("-", name): _sayable(str(inner)) for name, inner in value.items()}


def _trimmed(value: object) -> object:
    return value.strip(" \t\r\n") or "x" if isinstance(value, str) else value


def _sayable(value: object) -> object:
    match value:
        case str():
            return _UNSAYABLE.sub("?", value)
        case dict():
            return as_xml_can_say(value)
        case list():
            return [_sayable(inner) for inner in value]
        case _:
            return value


spoken_bodies = bodies.map(as_xml_can_say)
"""Valid requests that XML can say."""

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(["", "1", "a@b.c"])
)
nonsense = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3)
)


def at_any_place(body: Mapping[str, object], put: object) -> st.SearchStrategy[dict[str, object]]:
    """Put `put` in the place of any value of `body`, at any depth, or beside any."""
    places = list(_places(body, ()))
    return st.sampled_from(places).map(lambda place: _replaced(body, place, put))


def _places(value: object, path: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict):
        inner: list[tuple[str | int, object]] = [*value.items(), ("unheardOf", None)]
    elif isinstance(value, list):
        inner = [*enumerate(value)]
    else:
        inner = []
    return [place for key, part in inner for place in ((*path, key), *_places(part, (*path, key)))]


def _replaced(body: Mapping[str, object], place: tuple[str | int, ...], put: object) -> dict[str, object]:
    copy: dict[str, object] = json.loads(json.dumps(body))
    target: object = copy
    for key in place[:-1]:
        target = target[key]  # type: ignore[index]  # the place was found by walking the same body
    target[place[-1]] = put  # type: ignore[index]  # the same
    return copy


broken_bodies = st.builds(lambda body, put: (body, put), bodies, nonsense).flatmap(lambda pair: at_any_place(*pair))
"""Requests with one place that holds anything at all."""

any_bodies = st.one_of(
    st.binary(max_size=60),
    nonsense.map(lambda value: json.dumps(value).encode()),
    bodies.map(lambda value: json.dumps(value).encode()),
    broken_bodies.map(lambda value: json.dumps(value).encode()),
)
headers: st.SearchStrategy[dict[str, object]] = st.dictionaries(
    st.text(max_size=10), st.one_of(scalars, st.binary(max_size=5), st.just([])), max_size=4
)

any_deliveries = st.builds(
    Delivery,
    body=any_bodies,
    content_type=st.sampled_from([None, "application/json", "APPLICATION/JSON; charset=utf-8", "text/plain", "", ";"]),
    message_id=st.none() | st.text(max_size=260),
    correlation_id=st.none() | st.text(max_size=20),
    reply_to=st.none() | st.text(max_size=20),
    expiration=st.none() | st.floats(0, 1e12),
    timestamp=st.none() | st.just(NOW) | instants,
    priority=st.none() | st.integers(0, 255),
    headers=headers,
    exchange=st.text(max_size=10),
    routing_key=st.text(max_size=10),
    redelivered=st.booleans(),
    app_id=st.none() | st.text(max_size=255),
)
"""Deliveries as any producer may make them."""

moments = st.timedeltas(timedelta(0), timedelta(days=365)).map(lambda since: NOW + since)
