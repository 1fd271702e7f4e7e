"""Field tables: ordinary headers are read completely, hostile ones as far as they are usable."""

import calendar
import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import decode, encode

from service.adapters.rabbitmq.field_tables import MOST_HEADERS, make_reading_total, read_table
from tests.unit.strategy import law

FRAME = 131_000
"""Bytes of headers that one frame may hold."""

names = st.text(min_size=1, max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=20)
    | st.binary(max_size=20).map(bytearray)
    | st.decimals(-1000, 1000, places=2, allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
)


def table(*entries: bytes) -> bytes:
    content = b"".join(entries)
    return len(content).to_bytes(4) + content


def entry(name: bytes, value: bytes) -> bytes:
    return len(name).to_bytes() + name + value


def a_list(*items: bytes) -> bytes:
    return b"A" + table(*items)


DEATH = entry(b"x-death", a_list(b"F" + table(entry(b"reason", b"S" + table(b"expired")))))
DIED = {"x-death": [{"reason": "expired"}]}


@law
@given(st.dictionaries(names, values, max_size=5))
def test_ordinary_headers_are_read_as_the_library_reads_them(headers: dict[str, object]) -> None:
    make_reading_total()
    written = encode.field_table(headers)  # type: ignore[arg-type]  # all that AMQP has

    assert read_table(written + b"behind") == (len(written), headers)
    assert decode.by_type(written, "table") == (len(written), headers)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (b"t\x01", True),
        (b"b\xff", -1),
        (b"B\xff", 255),
        (b"s\xff\xfe", -2),
        (b"u\xff\xfe", 65534),
        (b"I\xff\xff\xff\xff", -1),
        (b"i\xff\xff\xff\xff", 2**32 - 1),
        (b"l" + b"\xff" * 8, -1),
        (b"L" + b"\xff" * 8, -1),
        (b"f\x3f\xc0\x00\x00", 1.5),
        (b"d\x3f\xf8" + bytes(6), 1.5),
        (b"D\x02\x00\x00\x00\x7d", Decimal("1.25")),
        (b"S" + table("é".encode()), "é"),
        (b"S" + table(b"\xe9"), b"\xe9"),
        (b"x" + table(b"\xe9"), bytearray(b"\xe9")),
        (b"V", None),
        (b"\x00", None),
        (b"T" + b"\xff" * 8, None),
        (a_list(b"V", b"t\x00", a_list()), [None, False, []]),
        (b"F" + table(entry(b"n", b"V")), {"n": None}),
    ],
)
def test_every_kind_of_value_is_read(written: bytes, value: object) -> None:
    assert read_table(table(entry(b"a", written), entry(b"b", b"t\x01")))[1] == {"a": value, "b": True}


def test_a_timestamp_is_read() -> None:
    headers = read_table(table(entry(b"a", b"T" + (1_790_000_000).to_bytes(8))))[1]

    assert calendar.timegm(headers["a"].utctimetuple()) == 1_790_000_000


@pytest.mark.parametrize(
    "odd",
    [
        entry(b"caf\xe9", b"S" + table(b"x")),
        entry(b"n", b"F" + table(entry(b"caf\xe9", b"V"))),
        entry(b"n", b"F" + table(entry(b"too long", b"S" + (99).to_bytes(4)))),
        entry(b"n", a_list(*[a_list()] * 3, b"?")),
        entry(b"n", b"A" + table(b"A" + table(b"A" + table(b"?")))),
        entry(b"list", a_list(*[b"V"] * (FRAME - 200))),
        entry(b"text", b"S" + table(b"x" * (FRAME - 200))),
        b"".join(entry(b"x-%d" % number, b"S" + table(b"x" * 1000)) for number in range(120)),
    ],
    ids=["name", "inner name", "length", "unknown item", "deep unknown item", "long list", "long text", "many"],
)
def test_unusable_headers_do_not_hide_the_brokers_headers(odd: bytes) -> None:
    headers = read_table(table(odd, DEATH))[1]

    assert {name: value for name, value in headers.items() if name == "x-death"} == DIED


@pytest.mark.parametrize("odd", [b"?", b"\x05ab", b"\x01a", b"\x01aS\x7f\xff\xff\xff", b"\x01a?", b"\x01al\x00"])
def test_headers_before_a_value_of_unknown_size_are_kept(odd: bytes) -> None:
    written = table(DEATH, odd)

    assert read_table(written) == (len(written), DIED)
    assert read_table(written[:-1])[1] == DIED


def test_the_latest_entries_of_a_long_x_death_list_are_read() -> None:
    """The broker writes its own entries before those that a producer has invented."""
    death = b"F" + table(entry(b"reason", b"S" + table(b"expired")))
    headers = read_table(table(entry(b"x-death", a_list(death, *[b"V"] * 100_000))))[1]

    assert headers["x-death"][0] == {"reason": "expired"}
    assert len(headers["x-death"]) < MOST_HEADERS


ORIGINAL = [entry(b"queue", b"S" + table(b"omni.requests")), entry(b"reason", b"S" + table(b"expired"))]


@pytest.mark.parametrize(
    "entries",
    [
        [*ORIGINAL, *(entry(name, b"S" + table(b"forged")) for name in (b"queue", b"reason"))],
        [entry(b"\xff", b"V"), *ORIGINAL],
        [entry(b"exchange", b"S" + table(b"x" * 2000)), *ORIGINAL],
        [entry(b"a", a_list(*[b"A" + table()] * 100)), *ORIGINAL],
        [entry(b"a", b"S" + table(b"x" * 20_000)), *ORIGINAL],
        [entry(b"b", b"F" + table(entry(b"\xff", b"V"))), *ORIGINAL],
    ],
    ids=["twice", "name", "long field", "list", "long", "table"],
)
def test_no_field_of_an_x_death_entry_hides_the_brokers_fields(entries: list[bytes]) -> None:
    """RabbitMQ 3 continues an entry that a producer wrote, with its fields."""
    headers = read_table(table(entry(b"x-death", a_list(b"F" + table(*entries)))))[1]

    assert headers["x-death"] == [{"queue": "omni.requests", "reason": "expired"}]


def test_the_first_of_two_headers_with_one_name_counts_as_for_the_broker() -> None:
    twice = table(DEATH, entry(b"x-death", a_list()), entry(b"a", b"t\1"), entry(b"a", b"t\0"))
    nested = table(entry(b"b", b"F" + twice))

    assert read_table(twice)[1] == {**DIED, "a": True}
    assert read_table(nested)[1]["b"]["a"] is True


def test_deeply_nested_lists_are_left_out() -> None:
    nested = b"V"
    for _ in range(20_000):
        nested = a_list(nested) if len(nested) < FRAME // 100 else nested
    assert read_table(table(entry(b"n", nested), DEATH))[1] == DIED


@pytest.mark.parametrize(
    "unit",
    [b"\x01aV", entry(b"a", a_list(*[b"V"] * 16_000)), entry(b"omni-a", a_list(*[a_list()] * 1000))],
    ids=["one name", "lists", "lists of lists"],
)
def test_reading_hostile_headers_takes_no_longer_than_an_ordinary_request(unit: bytes) -> None:
    written = table(unit * (FRAME // len(unit)))
    began = time.process_time()
    read_table(written)

    assert time.process_time() - began < 0.1  # a tenth of that is usual
