import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from service.core.attempt.claim import (
    AWAY,
    DONE,
    FREE,
    GIVEN_UP,
    Claim,
    ClaimKind,
    claim_name,
    claim_of,
    holder_to_replace,
    meaning_of,
    read_claim,
    taken_over,
    written,
)
from service.core.delivery import Delivery, Header
from service.core.history import History, owned
from service.core.result.origin import origin_name, reports_name
from tests.support.builder import NOW, OTHER_PHONE, a_body, a_delivery, a_destination, a_history, a_request, parsed


def meaning(delivery: Delivery | object) -> str:
    request = parsed(delivery).request
    assert request is not None
    return meaning_of(request)


MEANING = meaning(a_body())


def test_the_spelling_of_a_request_and_its_deadline_are_no_part_of_its_meaning() -> None:
    xml = (
        b"<request><sms><text>Hello</text></sms><requestId>order-1</requestId>"
        b"<destinations><destination><to><phoneNumber>+41 79 302 67 27</phoneNumber></to></destination></destinations>"
        b"</request>"
    )
    assert meaning(Delivery(json.dumps(dict(reversed(a_body().items())), indent=2).encode())) == MEANING
    assert meaning(Delivery(xml, "application/xml")) == MEANING
    assert meaning(a_body(expiresAt="2030-01-01T00:00:00Z")) == MEANING
    assert meaning(replace(a_delivery(), message_id="x", correlation_id="y", expiration=9.0, priority=3)) == MEANING


@pytest.mark.parametrize(
    "change",
    [
        {"sms": {"text": "Good-bye"}},
        {"destinations": [a_destination(OTHER_PHONE)]},
        {"destinations": [a_destination(message_id="m-1")]},
        {"destinations": [a_destination(), a_destination(OTHER_PHONE)]},
        {"metadata": {"tenant": "acme"}},
        {"onUnknown": "park"},
        {"scenarioKey": "other"},
    ],
)
def test_all_else_is(change: dict[str, object]) -> None:
    assert meaning(a_body(change)) != MEANING


@pytest.mark.parametrize(
    ("history", "headers", "redelivered", "kind", "is_claiming", "may_take_over"),
    [
        (a_history(), {}, False, "whole", True, False),
        (a_history(), {"tenant": "acme"}, False, "whole", True, False),
        (a_history(), {}, True, "whole", True, True),
        (a_history(1, ambiguous=True), {"omni-first-seen": 1, "omni-unread": True}, False, "whole", True, True),
        (replace(a_history(1), claim="m"), {"omni-first-seen": 1}, True, "part", True, True),
        (replace(a_history(1), claim="m"), {"omni-first-seen": 1}, False, "part", True, False),
        (replace(a_history(1), claim="m"), {"omni-republished": True}, False, "part", True, True),
        (replace(a_history(1), claim="m", part="p", waits=True), {"omni-attempt": 1}, False, "waiting", True, True),
        (replace(a_history(), claim="m", part="p", waits=True), {"omni-attempt": 0}, False, "waiting", False, False),
        (replace(a_history(), redrives=1, claim="m"), {"omni-redrive-count": 1}, False, "part", True, False),
        (replace(a_history(), redrives=1), {"omni-redrive-count": 1}, False, "part", True, False),
        (a_history(1), {"omni-first-seen": 1}, False, "part", True, False),
        (replace(a_history(), claim="m", waits=True), {"omni-first-seen": 1}, False, "waiting", False, False),
        (replace(a_history(1), claim="m", waits=True), {"omni-first-seen": 1}, False, "waiting", True, True),
        (
            replace(a_history(), redeliveries=1, claim="m", waits=True),
            {"omni-attempt": 0},
            False,
            "waiting",
            True,
            True,
        ),
    ],
)
def test_each_delivery_has_a_claim_and_only_one_that_another_worker_may_have_takes_one_over(  # noqa: PLR0913, PLR0917 - columns
    history: History,
    headers: dict[str, Header],
    redelivered: bool,  # noqa: FBT001 - a column
    kind: ClaimKind,
    is_claiming: bool,  # noqa: FBT001 - a column
    may_take_over: bool,  # noqa: FBT001 - a column
) -> None:
    claim = claim_of("record", a_request(), history, headers, "w.1", redelivered=redelivered, kept=9)
    assert (claim.kind, claim.is_claiming, claim.may_take_over) == (kind, is_claiming, may_take_over)
    assert claim.is_of_part is (kind == "part" or bool(history.part))
    assert claim.is_checked_first is (kind == "waiting" or may_take_over)


def test_an_id_is_named_without_being_readable() -> None:
    assert "order" not in claim_name("order-1")
    assert len(claim_name("order-1" * 99)) == len(claim_name("x"))
    assert claim_name("\ud800") != claim_name("x")


def found(holder: str, meaning: str = "m", *, may_take_over: bool = True) -> Claim:
    known = f"{written(meaning, holder)}[1]\n".encode()
    return Claim("record", "r", "m", "w.1", may_take_over=may_take_over, known=known)


def test_a_claim_keeps_its_final_events_when_it_is_taken_over() -> None:
    assert taken_over(found("w.7")) == "m w.1\n[1]\n"
    assert read_claim(found("w.7").known or b"") == ("m", "w.7", b"[1]\n")


@pytest.mark.parametrize("known", [b"", b"\n", b"\xff\xfe \xff\n\xff", b"m"])
def test_what_another_program_has_written_is_read_as_something(known: bytes) -> None:
    assert holder_to_replace(replace_known(known)) in {None, ""}


def replace_known(known: bytes) -> Claim:
    claim = found("w.7")
    claim.known = known
    return claim


def test_a_claim_is_taken_over_by_a_redelivery_of_the_same_meaning_unless_it_is_away() -> None:
    for holder in ("w.7", FREE, GIVEN_UP):
        assert holder_to_replace(found(holder)) == holder
        assert holder_to_replace(found(holder, may_take_over=False)) is None
        assert holder_to_replace(found(holder, "other")) is None
    assert holder_to_replace(found(AWAY)) is None


def test_a_delivery_that_takes_a_held_claim_over_is_ambiguous() -> None:
    waits = replace(a_history(), waits=True)
    assert owned(waits, was_held=False) == a_history()
    assert owned(waits, was_held=True) == History(NOW, 1, ambiguous=True)
    assert owned(a_history(3, ambiguous=True), was_held=True) == a_history(3, ambiguous=True)


async def test_what_is_done_is_not_waited_for() -> None:
    await DONE


@pytest.mark.parametrize("name", ["", "{omni-relay}", "{}", "a\r\nb", "a\0b", "\U0001f600", "\ud800", "x" * 2**16])
@pytest.mark.parametrize("name_of", [claim_name, origin_name, reports_name])
def test_the_name_of_a_record_contains_nothing_of_the_id(name_of: Callable[[str], str], name: str) -> None:
    """In a cluster, braces would choose another slot, and all records have to be in one."""
    assert re.fullmatch(r"[rmd][A-Za-z0-9+/]{16}", name_of(name))
