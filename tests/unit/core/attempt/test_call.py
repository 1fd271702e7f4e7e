import json

from service.core.attempt.call import OmniCall
from service.core.omni.channel.email import Email
from service.core.omni.channel.sms import Sms
from service.core.omni.content import Content
from service.core.request.request import Message


def test_a_call_is_rendered_with_the_vendors_names_and_without_empty_fields() -> None:
    content = Content(
        bulk_id="bulk-1",
        sms=Sms(text="Grüezi", validity_period=90, validity_period_time_unit="SECONDS"),
        email=Email(text="Hello", subject="A greeting"),
    )
    call = OmniCall(content, (Message('m"1', {"phoneNumber": "41793026727"}),), "order-1", 1)

    assert json.loads(call.to_json()) == {
        "bulkId": "bulk-1",
        "sms": {"text": "Grüezi", "validityPeriod": 90, "validityPeriodTimeUnit": "SECONDS"},
        "email": {"text": "Hello", "subject": "A greeting"},
        "destinations": [{"to": {"phoneNumber": "41793026727"}, "messageId": 'm"1'}],
    }


def test_a_call_that_leaves_everything_to_its_scenario_is_written_whole() -> None:
    call = OmniCall(Content(), (Message("m-1", {"emailAddress": "one@example.com"}),), "order-1", 1)

    assert json.loads(call.to_json()) == {
        "destinations": [{"to": {"emailAddress": "one@example.com"}, "messageId": "m-1"}]
    }
