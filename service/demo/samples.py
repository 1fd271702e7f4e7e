"""Sample requests, each with the events that its messages should have.

The last digits of a phone number select the sandbox's answer: 90503 is "unavailable once", 90014 is "refused", 92301 is
"delivered by the third channel, and read".
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sample:
    """One request, and for each of its messages the expected events: the relay's in order, then OMNI's reports."""

    title: str
    body: dict[str, object]
    expected: tuple[tuple[str, ...], ...]
    copies: int = 1
    """How often it is published."""


_SCENARIO: Final = "AD9E01A5DC7BEE2C2B828D208182A611"

SAMPLES: Final = (
    Sample(
        "advanced: two people, a text for each channel",
        {
            "requestId": "order-8812",
            "bulkId": "BULK-ID-123-xyz",
            "scenarioKey": _SCENARIO,
            "destinations": [
                {
                    "messageId": "MESSAGE-ID-123-xyz",
                    "to": {"phoneNumber": "41793026727", "emailAddress": "email@example.com"},
                },
                {"messageId": "MESSAGE-ID-124-xyz", "to": {"phoneNumber": "+41 79 302 67 31"}},
            ],
            "sms": {
                "text": "Siparişiniz yolda.",
                "language": {"languageCode": "TR"},
                "transliteration": "TURKISH",
            },
            "viber": {"text": "Your order is on its way."},
            "voice": {"text": "Your order is on its way."},
            "email": {"text": "Your order is on its way.", "subject": "Order 8812"},
        },
        (("accepted", "delivered"), ("accepted", "delivered")),
    ),
    Sample(
        "failover: Viber for a minute, SMS for ninety seconds, then e-mail",
        {
            "requestId": "reminder-17",
            "scenarioKey": _SCENARIO,
            "destinations": [
                {
                    "messageId": "reminder-17-1",
                    "to": {"phoneNumber": "41790092301", "emailAddress": "email@example.com"},
                }
            ],
            "intermediateReport": True,
            "viber": {"text": "Your appointment is tomorrow.", "validityPeriod": 1},
            "sms": {
                "text": "Your appointment is tomorrow.",
                "validityPeriod": 90,
                "validityPeriodTimeUnit": "SECONDS",
            },
            "email": {
                "text": "Your appointment is tomorrow.",
                "subject": "Tomorrow",
                "validityPeriod": 2,
                "validityPeriodTimeUnit": "HOURS",
            },
            "sendAt": "2016-04-26T10:52:15.000+01:00",
        },
        (("accepted", "undelivered", "undelivered", "delivered", "seen"),),
    ),
    Sample(
        "simple: one text for every channel, one number that is none",
        {
            "requestId": "newsletter-3",
            "destinations": [
                {
                    "messageId": "newsletter-3-1",
                    "to": {"phoneNumber": "41793026727", "emailAddress": "email@example.com"},
                },
                {"messageId": "newsletter-3-2", "to": {"phoneNumber": "call me"}},
            ],
            "text": "Our shop is open again.",
            "mailSubject": "Open again",
        },
        (("accepted", "delivered"), ("rejected",)),
    ),
    Sample(
        "flat: one recipient, whom OMNI refuses",
        {"requestId": "login-4", "phoneNumber": "41790090014", "text": "Your code is 123456."},
        (("rejected",),),
    ),
    Sample(
        "flat: OMNI is unavailable at first",
        {
            "requestId": "login-5",
            "messageId": "login-5-1",
            "phoneNumber": "41790090503",
            "text": "Your code is 654321.",
        },
        (("deferred", "accepted", "delivered"),),
    ),
    Sample(
        "not a request",
        {"requestId": "oops-1", "sms": {"txt": "What is missing here?"}},
        (("rejected",),),
    ),
)

CANCELLED: Final = "spring-sale"
"""The bulk id of a campaign that is cancelled."""

WITH_MEMORY: Final = (
    Sample(
        "flat: published twice, as after an unclear publish; one SMS, and its first event again",
        {
            "requestId": "invoice-9",
            "messageId": "invoice-9-1",
            "phoneNumber": "41793026733",
            "text": "Your invoice is ready.",
        },
        (("accepted", "accepted", "delivered"),),
        copies=2,
    ),
    Sample(
        f"advanced: a campaign, cancelled by `omni-relay cancel --bulk-id {CANCELLED}`",
        {
            "requestId": "spring-sale-1",
            "bulkId": CANCELLED,
            "destinations": [{"messageId": "spring-sale-1-1", "to": {"phoneNumber": "41793026735"}}],
            "sms": {"text": "Everything at half the price."},
        },
        (("cancelled",),),
    ),
)
"""Samples that need a shared memory."""
