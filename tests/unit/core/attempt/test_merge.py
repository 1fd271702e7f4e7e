from dataclasses import replace

from service.core.attempt.call import OmniCall, content_key, fits, group, ids_of, merge
from service.core.omni.channel.sms import Sms
from service.core.topology import URGENT
from tests.support.builder import NOW, a_call, a_message

ONE, TWO, THREE = (a_message(f"m-{number}", f"4179302672{number}") for number in (1, 2, 3))


def changed(call: OmniCall, **fields: object) -> OmniCall:
    return replace(call, content=call.content.model_copy(update=fields))


def test_requests_are_alike_that_differ_in_nothing_but_their_destinations() -> None:
    call = a_call(ONE)

    assert content_key(call) == content_key(replace(a_call(TWO, THREE), request_id="other", attempt=3))
    assert content_key(call) != content_key(changed(call, sms=Sms(text="Hello!")))
    assert content_key(call) != content_key(changed(call, scenario_key="other"))
    assert content_key(call) != content_key(changed(call, send_at=NOW))


def test_one_that_names_its_own_bulk_is_like_no_other() -> None:
    assert content_key(changed(a_call(ONE), bulk_id="ours")) is None
    assert content_key(replace(changed(a_call(ONE), bulk_id="ours"), lane=URGENT)) is None


def test_calls_of_two_lanes_are_never_made_as_one() -> None:
    normal, urgent = a_call(ONE), replace(a_call(TWO), lane=URGENT)

    assert content_key(normal) != content_key(urgent) == content_key(replace(a_call(ONE), lane=URGENT))
    assert merge([urgent, replace(a_call(ONE), lane=URGENT)]).lane is URGENT
    assert group([normal, urgent, replace(normal, messages=(THREE,))], 10) == [[0, 2], [1]]
    assert urgent.guarded(lambda: True).lane is URGENT


def test_a_merged_call_is_about_all_messages_in_order() -> None:
    merged = merge([a_call(ONE), replace(a_call(TWO, THREE), request_id="other")])

    assert merged.messages == (ONE, TWO, THREE)
    assert [one.message_id for one in merged.messages] == ["m-1", "m-2", "m-3"]
    assert merged.content == a_call(ONE).content


def test_one_call_alone_stays_as_it_is() -> None:
    call = a_call(ONE)

    assert merge([call]) is call


def test_a_merged_call_may_be_sent_only_while_each_of_them_may() -> None:
    allowed = {"a": True, "b": True}
    first, second = (
        replace(a_call(ONE), may_send=lambda: allowed["a"]),
        replace(a_call(TWO), may_send=lambda: allowed["b"]),
    )
    calls = [first, second]
    merged = merge(calls)

    assert merged.may_send()
    allowed["b"] = False
    assert not merged.may_send()
    assert merged.members == tuple(calls)


def test_equal_conditions_are_asked_once() -> None:
    asked: list[None] = []

    def may_send() -> bool:
        asked.append(None)
        return True

    assert merge([replace(a_call(message), may_send=may_send) for message in (ONE, TWO, THREE)]).may_send()
    assert len(asked) == 1


def test_no_message_is_twice_in_a_call_and_no_call_is_too_long() -> None:
    assert fits({"a"}, {"b"}, 2)
    assert not fits({"a"}, {"a"}, 100)
    assert not fits({"a", "b"}, {"c"}, 2)
    assert ids_of(a_call(ONE, TWO)) == {"m-1", "m-2"}


def test_calls_are_grouped_by_content() -> None:
    a, b, c = (a_call(message) for message in (ONE, TWO, THREE))
    bye = {"sms": Sms(text="Bye")}

    assert group([a, changed(b, **bye), c, changed(a, **bye)], 100) == [[0, 2], [1, 3]]
    assert group([], 100) == []


def test_no_message_is_twice_in_a_group_and_no_group_is_too_long() -> None:
    a, b, c = (a_call(message) for message in (ONE, TWO, THREE))

    assert group([a, a, b], 100) == [[0], [1, 2]]
    assert group([a, b, c], 2) == [[0, 1], [2]]
    assert group([a_call(ONE, TWO, THREE), a], 2) == [[0], [1]]


def test_calls_that_name_their_own_bulk_stay_alone() -> None:
    named = changed(a_call(ONE), bulk_id="ours")
    assert group([named, named, a_call(TWO), a_call(THREE)], 100) == [[0], [1], [2, 3]]


def test_the_members_of_merged_calls_that_are_merged_are_the_members_of_both() -> None:
    calls = [a_call(message) for message in (ONE, TWO, THREE)]
    assert merge([merge(calls[:2]), calls[2]]).members == tuple(calls)


def test_a_call_that_was_measured_has_measured_members() -> None:
    merged = merge([a_call(ONE), a_call(TWO)]).measured()

    assert merged.is_measured
    assert [member.is_measured for member in merged.members] == [True, True]


def test_a_guarded_call_is_the_same_call_under_other_conditions() -> None:
    call = replace(a_call(ONE), attempt=3, redrives=1, denials=2, traces=("t",), expires_at=NOW, published=NOW)
    guarded = call.guarded(lambda: False, is_alone=True)

    assert guarded == call
    assert (guarded.may_send(), guarded.is_alone, call.may_send()) == (False, True, True)
