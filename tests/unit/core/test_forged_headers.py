from dataclasses import replace

import pytest
from hypothesis import given

from service.core.delivery import Header
from service.core.forged_headers import can_be_forged, dead_without_forged_headers, without_forged_headers
from service.core.headers import kept_headers
from service.core.trace_context import trace_headers
from tests.support.builder import a_delivery
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
def test_an_invalid_trace_is_not_kept_and_a_state_only_with_its_trace(
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
def test_kept_headers_are_unchanged(table: dict[str, object]) -> None:
    kept = kept_headers(table)

    assert all(kept[name] is table[name] for name in kept)


OWN = {
    "omni-attempt": 999_999,
    "omni-first-seen": 1_795_348_800_000,
    "omni-ambiguous": True,
    "omni-redrive-count": 1,
    "omni-expires-at": 1,
    "Omni-Retries": 1,
    "omni-of-tomorrow": 1,
}
BESIDE = {"team": "blue", "omnibus": 1, "x-delivery-count": 0}
DELAYED = {"exchange": "omni.relay", "queue": "omni.requests.delay.1", "reason": "expired"}
PUT_THERE = {**DELAYED, "exchange": ""}


@pytest.mark.parametrize("exchange", ["omni.requests", "", "omni.results", "omni.dead", "omni.relay.mine"])
@pytest.mark.parametrize("deaths", [None, [], [DELAYED], [PUT_THERE], "omni.relay", [1]], ids=str)
def test_headers_of_the_relay_are_removed_from_a_producers_message(exchange: str, deaths: object) -> None:
    beside = BESIDE if deaths is None else {**BESIDE, "x-death": deaths}
    delivery = replace(a_delivery(), exchange=exchange, headers={**beside, **OWN})

    assert without_forged_headers(delivery) == replace(delivery, headers=beside)


@pytest.mark.parametrize("deaths", [None, [], [DELAYED], [DELAYED, PUT_THERE]], ids=str)
def test_a_message_of_the_relay_keeps_its_headers(deaths: object) -> None:
    beside = BESIDE if deaths is None else {**BESIDE, "x-death": deaths}
    delivery = replace(a_delivery(), exchange="omni.relay", headers={**beside, **OWN})

    assert without_forged_headers(delivery) is delivery


@pytest.mark.parametrize("deaths", [[PUT_THERE], [PUT_THERE, DELAYED], [{**DELAYED, "exchange": "mine"}]], ids=str)
def test_headers_of_a_message_that_entered_a_delay_queue_otherwise_are_removed(deaths: object) -> None:
    delivery = replace(a_delivery(), exchange="omni.relay", headers={"x-death": deaths, **OWN})

    assert without_forged_headers(delivery).headers == {"x-death": deaths}


def test_a_delivery_without_headers_of_the_relay_is_left_as_it_is() -> None:
    for beside in ({}, BESIDE):
        delivery = replace(a_delivery(), headers=beside)
        assert without_forged_headers(delivery) is delivery


def test_headers_of_a_dead_letter_count_if_the_relay_published_it() -> None:
    by_the_relay = replace(a_delivery(), exchange="omni.dead", headers=OWN)
    assert dead_without_forged_headers(by_the_relay) is by_the_relay
    put_back = replace(by_the_relay, exchange="omni.relay")
    assert dead_without_forged_headers(put_back) is put_back
    died_as_ours = replace(by_the_relay, headers={**OWN, "x-death": [{"exchange": "omni.relay"}]})
    assert dead_without_forged_headers(died_as_ours) is died_as_ours
    deaths = [{"exchange": "omni.requests"}]
    assert dead_without_forged_headers(replace(by_the_relay, headers={**OWN, "x-death": deaths})).headers == {
        "x-death": deaths
    }
    assert dead_without_forged_headers(replace(by_the_relay, exchange="")).headers == {}


@pytest.mark.parametrize("death", [{"reason": "expired", "exchange": "omni.relay"}, {"reason": "expired"}, {"a": 1}])
def test_where_a_death_can_be_forged_a_dead_letter_that_no_worker_had_received_has_no_history(death: Header) -> None:
    dead = replace(a_delivery(), exchange="omni.dead", headers={**OWN, "x-death": [death]})

    assert dead_without_forged_headers(dead, forgeable=True).headers == {"x-death": [death]}
    assert dead_without_forged_headers(dead) is dead


@pytest.mark.parametrize("reason", ["delivery_limit", "rejected"])
def test_where_a_death_can_be_forged_a_dead_letter_that_a_worker_had_received_keeps_its_history(reason: str) -> None:
    deaths: list[Header] = [{"reason": reason, "exchange": "omni.relay"}]
    dead = replace(a_delivery(), exchange="omni.dead", headers={**OWN, "x-death": deaths})
    of_the_relay = replace(dead, headers=OWN)

    assert dead_without_forged_headers(dead, forgeable=True) is dead
    assert dead_without_forged_headers(of_the_relay, forgeable=True) is of_the_relay


@pytest.mark.parametrize(
    ("version", "forged"), [("3.10.8", True), ("3.13.7", True), ("4.0.5", False), ("4.3.6", False), ("10.1", False)]
)
def test_a_broker_that_replaces_x_death_is_known_by_its_version(version: str, *, forged: bool) -> None:
    assert can_be_forged({"version": version}) is forged


@pytest.mark.parametrize("server", [{}, {"version": None}, {"version": "next"}, {"version": b"4.3"}], ids=str)
def test_a_broker_of_unknown_version_may_be_an_old_one(server: dict[str, object]) -> None:
    assert can_be_forged(server)
