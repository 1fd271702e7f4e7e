import pytest
from hypothesis import given

from service.rules.headers import kept_headers, trace_headers
from tests.unit.strategy import headers, law

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE = {"traceparent": PARENT, "tracestate": "a=b"}


def test_an_event_carries_the_trace_context_alone() -> None:
    assert trace_headers({"mine": 1, **TRACE, "CC": ["billing"], "x-delay": 5}) == TRACE


@pytest.mark.parametrize(
    ("parent", "state", "kept"),
    [
        (PARENT, "a=b", TRACE),
        (PARENT, "a b", {"traceparent": PARENT}),
        (PARENT, ["a"], {"traceparent": PARENT}),
        (PARENT, None, {"traceparent": PARENT}),
        (PARENT.upper(), "a=b", {}),
        (PARENT.replace("00-", "ff-", 1), "a=b", {}),
        ("00-1-2-01", "a=b", {}),
        (5, "a=b", {}),
        (None, "a=b", {}),
    ],
)
def test_what_is_invalid_is_not_passed_on_and_a_state_only_with_its_trace(
    parent: object, state: object, kept: dict[str, object]
) -> None:
    given_headers = {"traceparent": parent, "tracestate": state}

    assert trace_headers(given_headers) == kept
    assert kept_headers({**given_headers, "team": "blue"}) == {**kept, "team": "blue"}


def test_retries_keep_the_trace_context_first_and_then_the_headers_of_the_application() -> None:
    kept = kept_headers({"team": "blue", "Tenant": None, **TRACE, "": []})

    assert list(kept.items()) == [*TRACE.items(), ("team", "blue"), ("Tenant", None), ("", [])]


def test_headers_that_a_broker_or_the_relay_reads_are_never_kept() -> None:
    given_headers = ["CC", "BCC", "cc", "Bcc", "x-delay", "X-Death", "x-", "omni-attempt", "Omni-Reason", "TraceParent"]

    assert kept_headers(dict.fromkeys(given_headers, "billing")) == {}


@law
@given(headers)
def test_what_is_kept_is_unchanged(table: dict[str, object]) -> None:
    kept = kept_headers(table)

    assert all(kept[name] is table[name] for name in kept)
