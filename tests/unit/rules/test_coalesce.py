from dataclasses import replace

from service.rules.coalesce import content_key, merge
from service.words.call import OmniCall
from service.words.omni.channel.sms import Sms
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
