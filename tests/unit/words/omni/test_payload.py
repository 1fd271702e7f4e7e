import json

from service.words.omni.channel.email import Email
from service.words.omni.channel.sms import Sms
from service.words.omni.destination import Destination, To
from service.words.omni.payload import AdvancedPayload


def test_a_payload_is_written_with_the_vendors_names_and_without_what_is_not_said() -> None:
    payload = AdvancedPayload(
        destinations=(Destination(to=To(phone_number="41793026727"), message_id="m-1"),),
        bulk_id="bulk-1",
        sms=Sms(text="Grüezi", validity_period=90, validity_period_time_unit="SECONDS"),
        email=Email(text="Hello", subject="A greeting"),
    )

    assert json.loads(payload.to_json()) == {
        "bulkId": "bulk-1",
        "sms": {"text": "Grüezi", "validityPeriod": 90, "validityPeriodTimeUnit": "SECONDS"},
        "email": {"text": "Hello", "subject": "A greeting"},
        "destinations": [{"to": {"phoneNumber": "41793026727"}, "messageId": "m-1"}],
    }
