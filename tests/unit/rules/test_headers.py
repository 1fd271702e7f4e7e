from hypothesis import given

from service.rules.headers import kept_headers, trace_headers
from tests.unit.strategy import headers, law

TRACE = {"traceparent": "00-1-2-01", "tracestate": "a=b"}


def test_an_event_carries_the_trace_context_alone() -> None:
    assert trace_headers({"mine": 1, **TRACE, "CC": ["billing"], "x-delay": 5}) == TRACE


def test_a_trace_context_that_is_no_text_is_not_one() -> None:
    assert trace_headers({"traceparent": 5, "tracestate": ["a"]}) == {}
    assert kept_headers({"traceparent": 5, "tracestate": ["a"]}) == {}


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
