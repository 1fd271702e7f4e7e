"""The fast path's frames, compared with the library's reading and writing."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pamqp.commands
import pamqp.frame
from aiormq.abc import DeliveredMessage
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from service.adapters.rabbitmq import codec
from service.adapters.rabbitmq.fast_path import FastPath
from service.adapters.rabbitmq.field_tables import encoded_headers, make_reading_total
from service.adapters.rabbitmq.messages import read_delivery
from service.core.delivery import Delivery, Publication
from service.core.request.body import LONGEST
from tests.unit.strategy import law

DELIVERIES, PUBLISHES, FRAME_MAX = 1, 2, 4096

short_texts = st.text(max_size=80).filter(lambda text: len(text.encode()) <= 255)
seconds = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(  # noqa: DTZ001 - the zone is put on
    lambda naive: naive.replace(microsecond=0, tzinfo=UTC)
)
headers = st.dictionaries(
    st.text(min_size=1, max_size=20),
    st.booleans() | st.integers(-(2**31), 2**31 - 1) | st.text(max_size=20),
    max_size=4,
)
publications = st.builds(
    Publication,
    exchange=short_texts,
    routing_key=short_texts,
    body=st.binary(max_size=9000),
    content_type=short_texts,
    content_encoding=st.none() | short_texts,
    message_id=short_texts,
    type=st.none() | short_texts,
    correlation_id=st.none() | short_texts,
    reply_to=st.none() | short_texts,
    timestamp=st.none() | seconds,
    priority=st.none() | st.integers(0, 255),
    headers=headers,
    app_id=st.none() | short_texts,
)
properties = st.fixed_dictionaries(
    {},
    optional={
        "content_type": short_texts,
        "content_encoding": short_texts,
        "headers": headers,
        "delivery_mode": st.sampled_from([1, 2]),
        "priority": st.integers(0, 255),
        "correlation_id": short_texts,
        "reply_to": short_texts,
        "expiration": short_texts | st.integers(0, 2**40).map(str),
        "message_id": short_texts,
        "timestamp": seconds,
        "message_type": short_texts,
        "user_id": short_texts,
        "app_id": short_texts,
    },
)


def frames(data: bytes) -> list[Any]:
    """Take bytes apart as the library does."""
    found = []
    while data:
        size, channel, one = pamqp.frame.unmarshal(data)
        assert channel in {0, DELIVERIES, PUBLISHES}
        found.append(one)
        data = data[size:]
    return found


@law
@given(publications)
def test_the_library_reads_a_publication_as_it_was_written(publication: Publication) -> None:
    make_reading_total()
    method, header, *bodies = frames(codec.write_publish(PUBLISHES, publication, FRAME_MAX))
    assert isinstance(method, pamqp.commands.Basic.Publish)
    assert (method.exchange, method.routing_key) == (publication.exchange, publication.routing_key)
    assert (method.mandatory, method.immediate) == (True, False)
    assert isinstance(header, ContentHeader)
    assert header.body_size == len(publication.body)
    read = header.properties
    assert read.delivery_mode == 2
    for name in ("content_type", "message_id", "correlation_id", "reply_to", "timestamp", "priority", "app_id"):
        assert getattr(read, name) == getattr(publication, name)
    assert read.message_type == publication.type
    assert (read.headers or {}) == publication.headers
    assert b"".join(body.value for body in bodies) == publication.body
    assert all(len(body.value) <= FRAME_MAX - 8 for body in bodies)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3000) | st.binary().map(bytearray),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=200), inner, max_size=3),
    max_leaves=6,
)
OURS = {f"omni-{number}": "x" * 150 for number in range(12)}
LONG = "\u00e9" * 255


@law
@given(st.dictionaries(st.text(max_size=300), anything, max_size=6), st.sampled_from([4096, 8192, 131_072, 0]))
def test_with_any_headers_a_publication_fits_the_frames_and_keeps_the_relays_headers(
    given_headers: dict[str, Any], frame_max: int
) -> None:
    make_reading_total()
    table = {**OURS, **given_headers}
    publication = Publication(
        LONG, LONG, b"", LONG, LONG, LONG, LONG, LONG, datetime.now(UTC), 9, table, content_encoding=LONG
    )
    written = codec.write_publish(PUBLISHES, publication, frame_max)
    _, header = frames(written)
    assert len(written) - written.index(b"\xce\x02") - 1 <= (frame_max or 131_072)
    read = header.properties.headers
    assert list(read)[: len(OURS)] == list(OURS)
    assert set(read) <= set(table)


def test_headers_that_do_not_fit_are_left_out_and_the_others_are_kept() -> None:
    table = {"omni-attempt": 1, "tracestate": "x" * 130_950, "team": "blue", "tenant": "y" * 20_000, "b": True}
    assert list(encoded_headers(table, 131_072)) == ["omni-attempt", "team", "b"]
    assert list(encoded_headers({"a": "x" * 16_000, "b": "x" * 400, "c": 1}, 0)) == ["a", "c"]
    assert list(encoded_headers({"a": "x" * 2000, "b": "x" * 600, "c": 1}, 4096)) == ["a", "c"]


def test_headers_that_can_be_read_but_not_written_are_left_out() -> None:
    assert list(encoded_headers({"a": 2**64, "b": 1e300, "c": b"bytes", "d": "\ud800", "e" * 256: 1, "f": 1}, 0)) == [
        "f"
    ]


def test_texts_too_long_for_a_short_string_are_cut() -> None:
    """A property that was not UTF-8 grows: each wrong byte becomes a character of three bytes."""
    written = codec.write_publish(PUBLISHES, Publication("", "q", b"", "t", "\ufffd" * 255, correlation_id="\ud800"), 0)
    _, header, *bodies = frames(written)
    assert header.properties.message_id == "\ufffd" * 85
    assert header.properties.correlation_id == "?"
    assert frames(codec.write_publish(PUBLISHES, Publication("", "q", b"", "t", "é" * 200), 0))[
        1
    ].properties.message_id == ("é" * 127)
    assert bodies == []


def deliver(
    consumer: str, tag: int, body: bytes, given: dict[str, Any], *, redelivered: bool = False
) -> tuple[bytes, Delivery]:
    """Write a delivery as a broker does, and read it as the library does."""
    method = pamqp.commands.Basic.Deliver(consumer, tag, redelivered, "omni.requests", "send")
    header = ContentHeader(0, len(body), pamqp.commands.Basic.Properties(**given))
    parts = [ContentBody(body[start : start + 100]) for start in range(0, len(body), 100)]
    whole: list[Any] = [method, header, *parts]
    data = b"".join(pamqp.frame.marshal(one, DELIVERIES) for one in whole)
    _, read, *_ = frames(data)
    return data, read_delivery(DeliveredMessage(method, read, body, None))  # type: ignore[arg-type]  # no channel here


@law
@given(
    st.lists(st.tuples(properties, st.binary(max_size=250), st.booleans()), min_size=1, max_size=5),
    st.lists(st.integers(1, 90), min_size=1, max_size=9),
)
def test_the_fast_path_reads_deliveries_as_the_library_does_and_passes_other_frames_on_however_the_bytes_are_split(
    given: list[tuple[dict[str, Any], bytes, bool]], cuts: list[int]
) -> None:
    make_reading_total()
    expected, data, rest = [], b"", b""
    for tag, (fields, body, redelivered) in enumerate(given, 1):
        written, delivery = deliver("ours", tag, body, fields, redelivered=redelivered)
        expected.append((delivery, tag))
        another, _ = deliver("another", tag, body, fields)
        heartbeat = pamqp.frame.marshal(Heartbeat(), 0)
        declared = pamqp.frame.marshal(pamqp.commands.Queue.DeclareOk("q", 1, 2), DELIVERIES)
        data += written + heartbeat + another + declared
        rest += heartbeat + another + declared

    async def run() -> tuple[list[tuple[Delivery, int]], bytes]:
        reader, taken = asyncio.StreamReader(), list[tuple[Delivery, int]]()
        fast_path = FastPath(reader)
        fast_path.begin(DELIVERIES, PUBLISHES, FRAME_MAX)
        fast_path.consume("ours", lambda delivery, tag: taken.append((delivery, tag)))
        left, turn = data, 0
        while left:
            size = cuts[turn % len(cuts)]
            fast_path.data_received(left[:size])
            left, turn = left[size:], turn + 1
        reader.feed_eof()
        return taken, await reader.read()

    taken, passed_on = asyncio.run(run())
    assert taken == expected
    assert passed_on.replace(codec.HEARTBEAT, b"") == rest.replace(codec.HEARTBEAT, b"")


def test_after_a_framing_error_the_fast_path_passes_everything_on_to_the_library() -> None:
    async def run() -> bytes:
        reader = asyncio.StreamReader()
        fast_path = FastPath(reader)
        fast_path.begin(DELIVERIES, PUBLISHES, FRAME_MAX)
        fast_path.consume("ours", lambda *_: None)
        written, _ = deliver("ours", 1, b"body", {})
        fast_path.data_received(written[:-1] + b"x")
        fast_path.data_received(written)
        reader.feed_eof()
        return await reader.read()

    passed_on = asyncio.run(run())
    written, _ = deliver("ours", 1, b"body", {})
    assert passed_on.endswith(written)
    assert b"x" in passed_on


def test_truncated_properties_count_as_absent() -> None:
    header = ContentHeader(0, 5, pamqp.commands.Basic.Properties(message_id="m-1", correlation_id="c-1"))
    payload = pamqp.frame.marshal(header, DELIVERIES)[7:-1]
    for length in range(14, len(payload)):
        assert codec.read_properties(payload[:length])[0] == 5
    assert codec.read_properties(payload)[1].message_id == "m-1"


async def test_a_body_longer_than_any_request_is_dropped_as_it_arrives() -> None:
    taken: list[Delivery] = []
    fast_path = FastPath(asyncio.StreamReader())
    fast_path.begin(DELIVERIES, PUBLISHES, FRAME_MAX)
    fast_path.consume("ours", lambda delivery, _: taken.append(delivery))
    for size in (LONGEST, LONGEST + 1, 10):
        method = pamqp.commands.Basic.Deliver("ours", 1, False, "omni.requests", "send")  # noqa: FBT003 - new
        header = ContentHeader(0, size, pamqp.commands.Basic.Properties(message_id="m"))
        parts = [ContentBody(bytes(min(2**17, size - start))) for start in range(0, size, 2**17)]
        whole: list[Any] = [method, header, *parts]
        written = b"".join(pamqp.frame.marshal(one, DELIVERIES) for one in whole)
        for start in range(0, len(written), 2**18):
            fast_path.data_received(written[start : start + 2**18])

    assert [(len(one.body), one.is_too_long, one.message_id) for one in taken] == [
        (LONGEST, False, "m"),
        (0, True, "m"),
        (10, False, "m"),
    ]


class Wire(asyncio.Transport):
    """A transport that knows whether it is read."""

    reading = True

    def is_read(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return False


async def test_the_library_does_not_end_a_pause_of_the_fast_path() -> None:
    reader, wire = asyncio.StreamReader(limit=10), Wire()
    fast_path = FastPath(reader)
    fast_path.connection_made(wire)
    heartbeats = codec.HEARTBEAT * 100
    fast_path.data_received(heartbeats)
    assert not wire.is_read()  # the library has paused by itself: its buffer is full
    await reader.readexactly(len(heartbeats))
    assert wire.is_read()

    fast_path.data_received(heartbeats)
    fast_path.pause_reading()
    await reader.readexactly(len(heartbeats))
    assert not wire.is_read()
    fast_path.resume_reading()
    assert wire.is_read()


async def test_a_connection_that_has_ended_is_neither_paused_nor_resumed() -> None:
    wire = Wire()
    fast_path = FastPath(asyncio.StreamReader())
    fast_path.pause_reading()
    fast_path.connection_made(wire)
    assert wire.is_read()
    fast_path.pause_reading()
    fast_path.connection_lost(None)
    fast_path.resume_reading()
    assert not wire.is_read()
