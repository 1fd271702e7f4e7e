from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest

from service.rules.obituary import write_obituary
from service.rules.redrive import read_dead
from service.rules.report import Report
from tests.support.builder import NOW, a_body, a_delivery


def obituary(body: object, reason: str, headers: Mapping[str, object] = MappingProxyType({})) -> Report:
    delivery = replace(a_delivery(body), headers={"x-death": [{"reason": reason}], **headers})
    return write_obituary(read_dead(delivery), NOW, lambda: "made-up")


@pytest.mark.parametrize("reason", ["delivery_limit", "rejected"])
def test_of_what_workers_broke_on_the_request_is_told_and_the_body_is_not_read(reason: str) -> None:
    (event,) = obituary(a_body(), reason, {"omni-attempt": 2}).events

    assert (event.type, event.request_id, event.message_id, event.attempt) == ("request.rejected", "order-1", None, 2)
    assert event.reason is not None
    assert event.reason.code == "defect"
    (event,) = obituary(b"<", reason).events
    assert event.request_id == "made-up"


@pytest.mark.parametrize(
    ("reason", "headers"),
    [("expired", {"omni-reason": "failed"}), ("x", {"omni-reason": "unknown"}), ("maxlen", {}), ("expired", {})],
)
def test_of_what_the_relay_has_told_already_nothing_more_is_said(reason: str, headers: dict[str, object]) -> None:
    assert obituary(a_body(), reason, headers) == Report()
