import pytest

from service.rules.trace import is_sampled, read_trace, trace_id

ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACE = f"00-{ID}-{SPAN}-01"


def test_a_trace_is_read_as_it_came() -> None:
    assert read_trace({"traceparent": TRACE}) == TRACE
    assert trace_id(TRACE) == ID
    assert is_sampled(TRACE)
    assert not is_sampled(f"00-{ID}-{SPAN}-02")


@pytest.mark.parametrize(
    "given",
    [
        None,
        7,
        b"00",
        "",
        TRACE.upper(),
        TRACE + "\n",
        TRACE + "-more",
        f"ff-{ID}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{ID}-{'0' * 16}-01",
        f"00-{ID}-{SPAN}",
    ],
)
def test_what_is_no_trace_is_none(given: object) -> None:
    assert read_trace({"traceparent": given}) is None
    assert read_trace({}) is None
