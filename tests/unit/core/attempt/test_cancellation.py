"""Which messages an order concerns, and what survives in the list."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.attempt.call import merge
from service.core.attempt.cancellation import (
    LONGEST,
    MOST_BYTES,
    MOST_ORDERS,
    NO_ORDERS,
    Conditions,
    Known,
    Named,
    Order,
    Orders,
    TooManyError,
    change_list,
    read_list,
    version_of,
    write_list,
)
from service.core.request.request import SendRequest
from tests.support.builder import a_call, a_message, a_request

NOW = 1_700_000_000.0
VERSION = "0123456789abcdef"
REQUEST = replace(
    a_request(),
    request_id="r",
    messages=(a_message("m-1"), a_message("m-2")),
    metadata={"tenant": "acme", "note": "a=b"},
    content=a_request().content.model_copy(update={"bulk_id": "b"}),
)


def cancelled(named: Named, request: SendRequest = REQUEST) -> set[str]:
    return set(Orders(named.orders()).cancelled(request, request.messages))


def listed(
    *orders: Conditions, ends: float = NOW + 10, undone: bool = False, written: float = NOW
) -> dict[Conditions, Order]:
    return dict.fromkeys(orders, Order(written, ends, undone))


ONE, TWO = (Named(request_ids=(name,)).orders()[0] for name in ("one", "two"))


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (Named(request_ids=("r",)), {"m-1", "m-2"}),
        (Named(request_ids=("other", "r")), {"m-1", "m-2"}),
        (Named(request_ids=("other",)), set()),
        (Named(message_ids=("m-2", "m-9")), {"m-2"}),
        (Named(message_ids=("r",)), set()),
        (Named(bulk_ids=("b",)), {"m-1", "m-2"}),
        (Named(bulk_ids=("r",)), set()),
        (Named(metadata=("tenant=acme",)), {"m-1", "m-2"}),
        (Named(metadata=("note=a=b",)), {"m-1", "m-2"}),
        (Named(metadata=("tenant=acme", "note=other")), set()),
        (Named(metadata=("tenant=acme", "note=a=b")), {"m-1", "m-2"}),
        (Named(request_ids=("r",), message_ids=("m-1",)), {"m-1"}),
        (Named(request_ids=("other",), message_ids=("m-1",)), set()),
        (Named(request_ids=("r", "other"), bulk_ids=("b", "c"), metadata=("tenant=acme",)), {"m-1", "m-2"}),
        (Named(request_ids=("r",), bulk_ids=("c",)), set()),
    ],
)
def test_an_order_concerns_the_messages_for_which_all_conditions_hold(named: Named, expected: set[str]) -> None:
    assert cancelled(named) == expected


def test_a_request_without_bulk_id_or_metadata_is_of_no_bulk_and_has_no_metadata() -> None:
    bare = replace(REQUEST, content=a_request().content, metadata={})
    assert cancelled(Named(bulk_ids=("b",)), bare) == set()
    assert cancelled(Named(bulk_ids=("None",)), bare) == set()
    assert cancelled(Named(metadata=("tenant=acme",)), bare) == set()


def test_ids_of_different_kinds_and_with_any_characters_are_not_confused() -> None:
    strange = "\x00\ud800,+\n="
    assert cancelled(Named(request_ids=(strange,)), replace(REQUEST, request_id=strange)) == {"m-1", "m-2"}
    assert len({Named(*(("x",) if place == kind else () for place in range(4))).orders()[0] for kind in range(4)}) == 4


def test_the_number_of_orders_is_known_before_they_are_made() -> None:
    named = Named(("1", "2", "2"), ("3",), ("4", "5"), ("6=7",))
    assert named.count() == len(named.orders()) == 4
    assert Named().count() == len(Named().orders()) == 0
    assert Named(metadata=("a=b",)).count() == 1


def test_a_call_is_concerned_if_one_of_its_members_is() -> None:
    other = replace(REQUEST, request_id="other", messages=(a_message("m-3"),))
    calls = [replace(a_call(), request=one, messages=one.messages) for one in (REQUEST, other)]
    orders = Orders(Named(message_ids=("m-3",)).orders())
    assert [orders.concerns(call) for call in (*calls, merge(calls), a_call())] == [False, True, True, False]
    assert not NO_ORDERS
    assert not NO_ORDERS.concerns(calls[0])
    assert orders


@given(st.dictionaries(st.sampled_from([ONE, TWO, ONE | TWO]), st.booleans()), st.integers(1, 10**12))
def test_a_list_that_is_written_is_read_again(undone: dict[Conditions, bool], ends: int) -> None:
    orders = {name: Order(ends / 1000, ends / 1000, one) for name, one in undone.items()}
    text = write_list(orders, VERSION).encode()
    assert read_list(text) == orders
    assert version_of(text) == VERSION


@given(st.binary())
def test_anything_is_read_as_a_list(text: bytes) -> None:
    read_list(text)
    version_of(text)


def test_lines_that_cannot_be_read_and_lists_that_are_too_long_are_ignored() -> None:
    good = write_list(listed(ONE), VERSION)
    assert set(read_list(f"{good}\n+1 1 r12\n*1 1 {min(ONE)}\n+1 1 {min(ONE)},\n+1 {min(TWO)}\n\xff".encode())) == {ONE}
    assert read_list(good.encode() + b"\n" * MOST_BYTES) == {}
    assert read_list(None) == {}
    assert version_of(None) == ""


def test_an_order_is_given_prolonged_and_undone() -> None:
    given = change_list({}, [ONE, TWO], NOW, 10, undo=False)
    assert (given.changed, given.in_force, given.seconds) == (2, 2, 10)
    prolonged = change_list(given.listed, [ONE], NOW + 5, LONGEST * 2, undo=False)
    assert (prolonged.changed, prolonged.in_force, prolonged.seconds) == (1, 2, LONGEST)
    undone = change_list(prolonged.listed, [ONE], NOW + 6, 10, undo=True)
    assert (undone.changed, undone.in_force) == (1, 1)
    assert undone.listed[ONE] == Order(NOW + 6, NOW + 5 + LONGEST, undone=True)
    again = change_list(undone.listed, [ONE], NOW + 7, 10, undo=False)
    assert (again.changed, again.in_force) == (1, 2)


def test_an_order_that_has_ended_is_dropped_and_cannot_be_undone() -> None:
    change = change_list(listed(ONE, ends=NOW), [TWO], NOW, 10, undo=False)
    assert set(change.listed) == {TWO}
    assert change_list(listed(ONE, ends=NOW), [ONE], NOW, 10, undo=True).changed == 0


def test_there_are_never_more_orders_than_a_worker_reads() -> None:
    full = listed(*Named(request_ids=tuple(map(str, range(MOST_ORDERS)))).orders())
    assert read_list(write_list(full, VERSION).encode()) == full
    with pytest.raises(TooManyError) as raised:
        change_list(full, [ONE], NOW, 10, undo=False)
    assert raised.value.count == MOST_ORDERS
    assert change_list(full, [next(iter(full))], NOW, 10, undo=True).in_force == MOST_ORDERS - 1
    wide = Named(request_ids=tuple(map(str, range(2500))), metadata=tuple(f"a{i}=b" for i in range(13))).orders()
    with pytest.raises(TooManyError):
        change_list({}, wide, NOW, 10, undo=False)


def test_a_worker_keeps_what_a_memory_has_lost_and_learns_what_was_undone() -> None:
    known = Known().merged(listed(ONE, TWO), NOW)
    assert set(known.in_force(NOW)) == {ONE, TWO}
    assert set(known.merged({}, NOW).in_force(NOW)) == {ONE, TWO}
    assert set(known.merged(listed(ONE, undone=True), NOW).in_force(NOW)) == {TWO}
    older = listed(ONE, written=NOW - 1)
    assert set(Known().merged(listed(ONE, undone=True), NOW).merged(older, NOW).in_force(NOW)) == set()
    assert known.merged({}, NOW + 10).in_force(NOW + 10) == []
    assert known.next_end(NOW) == NOW + 10
    assert known.next_end(NOW + 10) == float("inf")


def test_a_worker_never_knows_more_than_two_lists() -> None:
    many = [Named(request_ids=tuple(f"{part}-{i}" for i in range(MOST_ORDERS))).orders() for part in range(3)]
    known = Known()
    for part in many:
        known = known.merged(listed(*part), NOW)
    assert set(known.in_force(NOW)) == {*many[1], *many[2]}
