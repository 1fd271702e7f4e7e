from dataclasses import replace

from service.core.attempt.call import OmniCall, content_key, group, merge
from service.core.omni.channel.sms import Sms
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


def test_a_merged_call_is_about_all_messages_in_order() -> None:
    merged = merge([a_call(ONE), replace(a_call(TWO, THREE), request_id="other")])

    assert merged.messages == (ONE, TWO, THREE)
    assert [one.message_id for one in merged.messages] == ["m-1", "m-2", "m-3"]
    assert merged.content == a_call(ONE).content


def test_one_call_alone_stays_as_it_is() -> None:
    call = a_call(ONE)

    assert merge([call]) is call


def test_calls_that_come_together_are_batched_by_content() -> None:
    a, b, c = (a_call(message) for message in (ONE, TWO, THREE))
    bye = {"sms": Sms(text="Bye")}

    assert group([a, changed(b, **bye), c, changed(a, **bye)], 100) == [[0, 2], [1, 3]]
    assert group([], 100) == []


def test_no_message_is_named_twice_in_a_call_and_no_call_is_too_long() -> None:
    a, b, c = (a_call(message) for message in (ONE, TWO, THREE))

    assert group([a, a, b], 100) == [[0], [1, 2]]
    assert group([a, b, c], 2) == [[0, 1], [2]]
    assert group([a_call(ONE, TWO, THREE), a], 2) == [[0], [1]]


def test_those_that_name_their_own_bulk_stay_alone() -> None:
    named = changed(a_call(ONE), bulk_id="ours")
    assert group([named, named, a_call(TWO), a_call(THREE)], 100) == [[0], [1], [2, 3]]
