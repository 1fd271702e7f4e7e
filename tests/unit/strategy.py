"""What laws are tried on: requests as producers may write them, whole and broken."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st

from service.words.delivery import Delivery
from tests.support.builder import NOW

law: Final = settings(max_examples=40, deadline=None, derandomize=True)
"""The same examples on every run: a check of a change must not fail by luck."""

names = st.text(min_size=1, max_size=40)
small_texts = st.text(max_size=30).map(lambda text: f"x{text}")
phones = st.integers(10_000, 10**15 - 1).map(str)
written_phones = st.builds(
    lambda prefix, phone, gap: prefix + phone[:2] + gap + phone[2:],
    st.sampled_from(["", "+", "00"]),
    phones,
    st.sampled_from(["", " ", "-", ".", " (", ") "]),
)
emails = st.builds("{}@{}.example".format, st.text("abc.+-0", min_size=1, max_size=9), st.text("abc-0", min_size=1))
instants = st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1)).map(  # noqa: DTZ001 - the zone is put on below
    lambda naive: naive.replace(microsecond=naive.microsecond // 1000 * 1000, tzinfo=UTC)
)


def _days_ahead(first: int, last: int) -> st.SearchStrategy[str]:
    milliseconds = st.integers(first * 86_400_000, last * 86_400_000)
    return milliseconds.map(lambda ahead: (NOW + timedelta(milliseconds=ahead)).isoformat(timespec="milliseconds"))


addresses = st.one_of(
    st.fixed_dictionaries({"phoneNumber": written_phones}, optional={"emailAddress": emails}),
    st.fixed_dictionaries({"emailAddress": emails}),
)
message_ids = st.text(min_size=1, max_size=200)
destinations = st.fixed_dictionaries({"to": addresses}, optional={"messageId": message_ids})

validity: st.SearchStrategy[dict[str, object]] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"validityPeriod": st.integers(1, 2880)}),
    st.fixed_dictionaries(
        {"validityPeriod": st.integers(30, 172_800).map(str), "validityPeriodTimeUnit": st.just("SECONDS")}
    ),
    st.fixed_dictionaries({"validityPeriod": st.integers(1, 48), "validityPeriodTimeUnit": st.just("HOURS")}),
)


def _channel(**more: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    return st.builds(
        lambda texts, period: {**texts, **period},
        st.fixed_dictionaries({"text": small_texts}, optional=more),
        validity,
    )


channels = st.fixed_dictionaries(
    {},
    optional={
        "sms": _channel(language=st.just({"languageCode": "TR"}), transliteration=st.sampled_from(["TURKISH", "ALL"])),
        "viber": _channel(),
        "voice": _channel(),
        "facebook": _channel(),
        "email": _channel(subject=small_texts),
    },
).filter(bool)
simple_content = st.fixed_dictionaries({"text": small_texts}, optional={"mailSubject": small_texts})
shared_fields = st.fixed_dictionaries(
    {},
    optional={
        "requestId": st.text(min_size=1, max_size=60),
        "bulkId": st.text(min_size=1, max_size=100),
        "scenarioKey": small_texts,
        "sendAt": _days_ahead(-1000, 179),
        "expiresAt": _days_ahead(300, 3000),
        "onUnknown": st.sampled_from(["resend", "park"]),
        "metadata": st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=3),
    },
)
recipients = st.one_of(
    st.fixed_dictionaries({"destinations": st.lists(destinations, min_size=1, max_size=4)}),
    st.builds(
        lambda to, named: {**to, **named},
        addresses,
        st.fixed_dictionaries({}, optional={"messageId": message_ids}),
    ),
)

bodies = st.builds(
    lambda who, what, shared: {**who, **what, **shared}, recipients, st.one_of(channels, simple_content), shared_fields
)
"""Valid requests in each shape (but that two destinations may ask for the same messageId)."""

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
)
"""Deliveries as any producer may make them."""

moments = st.timedeltas(timedelta(0), timedelta(days=365)).map(lambda since: NOW + since)
