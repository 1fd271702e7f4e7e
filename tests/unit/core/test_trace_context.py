"""What is a trace context: tables after W3C's own test suite (w3c/trace-context, test/test.py)."""

import time
from typing import Final

import pytest

from service.core.trace_context import is_sampled, read_state, read_trace, trace_id

ID, SPAN = "12345678901234567890123456789012", "1234567890123456"
TRACE: Final = f"00-{ID}-{SPAN}-01"
FUTURE: Final = f"cc-{ID}-{SPAN}-01"


@pytest.mark.parametrize(
    ("given", "sampled"),
    [
        (TRACE, True),
        (f"00-{ID}-{SPAN}-00", False),
        (f"00-{ID}-{SPAN}-02", False),
        (f"00-{ID}-{SPAN}-03", True),
        (f"00-{ID}-{SPAN}-ff", True),
        # A future version is read by the rules of version 00 (test_traceparent_version_0xcc)
        (FUTURE, True),
        (f"{FUTURE}-what-the-future-will-be-like", True),
        (f"{FUTURE}-", True),
        (f"01-{ID}-{SPAN}-00-x", False),
        (f"01-{ID}-{SPAN}-00-01", False),
        (f"fe-{ID}-{SPAN}-01-\u007e", True),
    ],
)
def test_a_trace_is_read_as_it_came(given: str, *, sampled: bool) -> None:
    assert read_trace({"traceparent": given}) == given
    assert trace_id(given) == ID
    assert is_sampled(given) is sampled


@pytest.mark.parametrize(
    "given",
    [
        None,
        7,
        b"00",
        [TRACE],
        "",
        "nonsense",
        f"00-{'abcdef12' * 4}-{SPAN}-01".upper(),  # 3.2.2: lower case only
        f" {TRACE}",  # blanks around a header are HTTP's; AMQP has none
        f"{TRACE} ",
        f"{TRACE}\n",
        f"{TRACE},{TRACE}",
        # test_traceparent_version_0x00: nothing may follow
        f"{TRACE}.",
        f"{TRACE}-",
        f"{TRACE}-what-the-future-will-be-like",
        # test_traceparent_version_0xcc: only a dash may follow
        f"{FUTURE}.what-the-future-will-be-like",
        f"{FUTURE}x",
        f"{FUTURE}-\n",
        f"{FUTURE}-\u00e9",
        f"{FUTURE}-" + "x" * 257,
        # test_traceparent_version_*
        f"ff-{ID}-{SPAN}-01",
        f"ff-{ID}-{SPAN}-01-x",
        f".0-{ID}-{SPAN}-01",
        f"0.-{ID}-{SPAN}-01",
        f"000-{ID}-{SPAN}-01",
        f"0-{ID}-{SPAN}-01",
        f"CC-{ID}-{SPAN}-01",
        # test_traceparent_trace_id_*
        f"00-{'0' * 32}-{SPAN}-01",
        f"cc-{'0' * 32}-{SPAN}-01",
        f"00-.{ID[1:]}-{SPAN}-01",
        f"00-{ID[:-1]}.-{SPAN}-01",
        f"00-{ID}3-{SPAN}-01",
        f"00-{ID[:-1]}-{SPAN}-01",
        f"00-{'A' * 32}-{SPAN}-01",
        # test_traceparent_parent_id_*
        f"00-{ID}-{'0' * 16}-01",
        f"cc-{ID}-{'0' * 16}-01",
        f"00-{ID}-.{SPAN[1:]}-01",
        f"00-{ID}-{SPAN[:-1]}.-01",
        f"00-{ID}-{SPAN}7-01",
        f"00-{ID}-{SPAN[:-1]}-01",
        # test_traceparent_trace_flags_*
        f"00-{ID}-{SPAN}-.0",
        f"00-{ID}-{SPAN}-0.",
        f"00-{ID}-{SPAN}-001",
        f"00-{ID}-{SPAN}-1",
        f"00-{ID}-{SPAN}",
        f"00-{ID}-{SPAN}-0\u0661",
    ],
)
def test_an_invalid_traceparent_is_none(given: object) -> None:
    assert read_trace({"traceparent": given}) is None


def test_no_header_is_no_trace() -> None:
    assert read_trace({}) is None
    assert read_state({}) is None


@pytest.mark.parametrize(
    "given",
    [
        "foo=1",
        "foo=1,bar=2",
        "foo=1 , bar=2, \t baz=3",  # test_tracestate_ows_handling
        "\tfoo=1\t",
        "foo=1,",
        ",foo=1",
        "foo=1,,bar=2",
        "foo=1,foo=2",  # test_tracestate_duplicated_keys: may be kept
        "fw529a3039@dt=FfffffeGO",
        "0fw@dt=1",
        "a_-*/0=b",
        "foo@=1",  # Level 2 allows it
        "a" * 256 + "=1",  # test_tracestate_key_length_limit
        "foo= !\"#$%&'()*+-./0~",
        "foo=" + "v" * 256,
        ",".join(f"bar{number:02d}={number}" for number in range(1, 33)),  # test_tracestate_member_count_limit
    ],
)
def test_a_state_is_read_as_it_came(given: str) -> None:
    assert read_state({"tracestate": given}) == given


@pytest.mark.parametrize(
    "given",
    [
        None,
        7,
        ["foo=1"],
        "",  # test_tracestate_empty_header
        " ",
        ",",
        "foo",
        "=1",
        "foo=",
        "foo=1=2",
        "foo =1",  # test_tracestate_key_illegal_characters
        "FOO=1",
        "foo.bar=1",
        "foo= ",
        "foo=1\n",
        "foo=\u00e9",
        "foo=1;bar=2\x7f",
        "_foo=1",
        "@foo=1",
        "a" * 257 + "=1",
        "foo=" + "v" * 257,
        ",".join(f"bar{number:02d}={number}" for number in range(1, 34)),
    ],
)
def test_an_invalid_tracestate_is_none(given: object) -> None:
    assert read_state({"tracestate": given}) is None


@pytest.mark.parametrize("given", ["a=b" + "\t" * 130_000 + "x", "," * 130_000 + "a=b!\x00", "a=" + " " * 130_000])
def test_a_hostile_state_takes_no_time(given: str) -> None:
    began = time.process_time()

    assert read_state({"tracestate": given}) is None
    assert time.process_time() - began < 1
