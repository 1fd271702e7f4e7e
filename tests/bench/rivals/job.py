"""The requests, the payload and the event of all rivals."""

import json
import os
from collections.abc import Iterator
from typing import Any

BROKER = os.environ.get("RIVAL_BROKER", "")
OMNI = os.environ.get("RIVAL_OMNI", "") + "/omni/1/advanced"
HEADERS = {"authorization": "App bench"}
QUEUE, RESULTS = os.environ.get("RIVAL_QUEUE", ""), "omni.results"
PREFETCH = 100


def request(number: int, kind: str) -> dict[str, Any]:
    """Make a request: `distinct` texts, one `campaign`, a `mix` (one text in ten is its own), or large e-mails."""
    if kind.isdecimal():
        email = {"subject": "Bill", "text": f"{number} ".ljust(int(kind), "x")}
        to = {"emailAddress": f"someone-{number}@example.com"}
        return {"requestId": f"r-{number}", "messageId": f"m-{number}", **to, "email": email}
    own = kind == "distinct" or (kind == "mix" and number % 10 == 0)
    return {
        "requestId": f"r-{number}",
        "messageId": f"m-{number}",
        "phoneNumber": f"417{number % 100_000_000:08d}",
        "sms": {"text": f"Your code is {number:06d}." if own else "Sale! Everything at half the price, today only."},
    }


def requests(count: int, kind: str) -> Iterator[dict[str, Any]]:
    """Make so many."""
    return (request(number, kind) for number in range(count))


def payload(body: dict[str, Any]) -> dict[str, Any]:
    """Write what OMNI is posted."""
    destination = {"messageId": body["messageId"], "to": {"phoneNumber": body["phoneNumber"]}}
    return {"destinations": [destination], "sms": body["sms"]}


def event(body: dict[str, Any], answer: dict[str, Any]) -> bytes:
    """Write what is published of the answer."""
    (message,) = answer["messages"]
    data = {"requestId": body["requestId"], "messageId": body["messageId"], "status": message["status"]}
    envelope = {
        "specversion": "1.0",
        "id": body["messageId"],
        "source": "/rival",
        "type": "omni.message.accepted",
        "subject": body["messageId"],
        "data": data,
    }
    return json.dumps(envelope).encode()
