import gzip
import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.delivery import Delivery, Publication
from service.core.headers import read_history
from service.core.history import History
from service.core.request.body import MAX_DESTINATIONS
from service.core.result.dead_letter import (
    DeadLetter,
    Selection,
    body_text,
    is_of_the_broker,
    message_ids,
    read_dead,
    redrive,
    renew,
)
from service.core.result.publication import publish_report
from service.core.result.report import DeadLetterMessage, Report
from service.core.topology import NORMAL, URGENT, Lane
from tests.support.builder import NOW, a_delivery, a_history, a_request
from tests.unit.strategy import headers, law

DIED = datetime(2026, 11, 22, 11, 0, tzinfo=UTC)


def delivered(publication: Publication, **changes: object) -> Delivery:
    """Turn what was published into what is delivered."""
    delivery = Delivery(
        publication.body,
        publication.content_type,
        publication.message_id,
        publication.correlation_id,
        publication.reply_to,
        None,
        publication.timestamp,
        publication.priority,
        publication.headers,
        publication.exchange,
        publication.routing_key,
        app_id=publication.app_id,
    )
    return replace(delivery, **changes)  # type: ignore[arg-type]  # its own fields


def a_letter(past: History | None = None, **headers: object) -> DeadLetter:
    origin = replace(
        a_delivery(),
        exchange="omni.requests",
        routing_key="send.now",
        correlation_id="corr-1",
        reply_to="replies",
        timestamp=NOW,
        priority=3,
        app_id="shop",
        headers={"team": "blue", "CC": ["billing"], "x-death": [], "omni-log-checks": 3, **headers},
    )
    report = Report((), (), (DeadLetterMessage(a_request(), past or a_history(8), "failed", "http_503"),))
    (publication,) = publish_report(report, origin, NOW)
    return read_dead(delivered(publication))


def by_broker(reason: object, time: object = DIED, **changes: object) -> DeadLetter:
    death = {"reason": reason, "time": time, "queue": "omni.requests", "exchange": "omni.requests", "count": 1}
    dead: dict[str, object] = {"exchange": "omni.dead", "headers": {"x-death": [death, {"reason": "expired"}]}}
    return read_dead(replace(a_delivery(), **{**dead, **changes}))  # type: ignore[arg-type]  # its own fields


def test_a_dead_letter_of_the_relay_has_reason_time_and_request_id() -> None:
    dead_letter = a_letter()

    assert (dead_letter.reason, dead_letter.detail, dead_letter.failed_at) == ("failed", "http_503", NOW)
    assert (dead_letter.request_id, dead_letter.attempts, dead_letter.redrives) == ("order-1", 8, 0)


def test_a_dead_letter_too_long_to_be_parsed_has_the_id_of_its_message() -> None:
    body = b'{"requestId": "own", "x": [' + b"{}," * 10 * MAX_DESTINATIONS + b"{}]}"

    assert read_dead(replace(a_delivery(body), message_id="m")).request_id == "m"


def test_a_dead_letter_of_the_broker_has_its_original_exchange() -> None:
    dead_letter = by_broker("expired", exchange="omni.dead", routing_key="send.now")

    assert (dead_letter.original.exchange, dead_letter.original.routing_key) == ("omni.requests", "send.now")
    assert dead_letter.original.headers == dead_letter.delivery.headers
    assert read_dead(a_delivery()).original.exchange == ""


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("delivery_limit", "poison"),
        ("expired", "lapsed"),
        ("rejected", "defect"),
        ("maxlen", "other"),
        (7, "other"),
    ],
)
def test_the_latest_death_gives_the_reason_of_a_dead_letter_of_the_broker(word: object, reason: str) -> None:
    dead_letter = by_broker(word)

    assert (dead_letter.reason, dead_letter.failed_at, dead_letter.request_id) == (reason, DIED, "order-1")


@pytest.mark.parametrize("time", [datetime(2026, 11, 22, 11, 0), "2026-11-22T11:00:00+00:00"])  # noqa: DTZ001 - as pamqp may read it
def test_a_time_without_a_zone_is_universal(time: object) -> None:
    assert by_broker("expired", time).failed_at == DIED


@pytest.mark.parametrize("time", [None, "yesterday", 5])
def test_a_nonsensical_time_is_unknown(time: object) -> None:
    assert by_broker("expired", time).failed_at is None


@pytest.mark.parametrize(
    ("body", "name", "request_id"),
    [
        (b'{"requestId": "r"}', "m", "r"),
        (b'{"requestId": 5}', "m", "m"),
        (b'{"requestId": "%s"}' % (b"x" * 300), "m", "m"),  # no AMQP property would hold it
        (b"[]", "m", "m"),
        (b"{", "m", "m"),
        (b"<request/>", None, ""),
    ],
)
def test_a_request_is_named_as_the_relay_would(body: bytes, name: str | None, request_id: str) -> None:
    assert by_broker("expired", body=body, message_id=name).request_id == request_id


def test_a_replay_goes_through_the_exchange_of_the_relay_and_omni_is_asked_first() -> None:
    publication = redrive(a_letter(replace(a_history(8), log_checks=2, retries=9), **{"omni-republished": True}))

    assert (publication.exchange, publication.routing_key) == ("omni.relay", "omni.requests")
    assert (publication.message_id, publication.content_type) == ("order-1", "application/json")
    assert (publication.correlation_id, publication.reply_to, publication.priority) == ("corr-1", "replies", 3)
    assert (publication.timestamp, publication.app_id) == (NOW, "shop")
    assert publication.headers == {
        "team": "blue",
        "omni-attempt": 0,
        "omni-ambiguous": True,
        "omni-redrive-count": 1,
        "omni-first-seen": 1_795_348_800_000,
        "omni-original-exchange": "omni.requests",
        "omni-original-routing-key": "send.now",
    }
    past = read_history(publication.headers, NOW)
    assert past.is_unresolved
    assert past.is_replay


def test_a_second_replay_counts_on_and_keeps_the_origin() -> None:
    first = redrive(a_letter())
    second = redrive(read_dead(delivered(first, exchange="omni.dead", routing_key="")))

    assert second.headers["omni-redrive-count"] == 2
    assert second.headers["omni-original-exchange"] == "omni.requests"
    assert second.headers["omni-original-routing-key"] == "send.now"


@pytest.mark.parametrize(
    ("count", "redelivered", "due"),
    [(None, True, False), (0, True, False), (1, True, True), (20, True, True), ("10", True, False), (7, False, False)],
)
def test_one_that_was_returned_once_is_put_back_as_a_new_one(count: object, *, redelivered: bool, due: bool) -> None:
    """A policy may set any delivery limit, and the broker deletes what exceeds it."""
    dead_letter = a_letter()
    headers = {"team": "blue", "x-delivery-count": count}
    dead_letter = replace(dead_letter, delivery=replace(dead_letter.delivery, headers=headers, redelivered=redelivered))

    assert dead_letter.must_be_renewed is due


def test_a_renewed_dead_letter_goes_to_its_queue_alone_and_keeps_its_identity() -> None:
    dead_letter = a_letter()
    looked_at = {**dead_letter.delivery.headers, "x-delivery-count": 3, "CC": ["billing"]}
    dead_letter = replace(
        dead_letter, delivery=replace(dead_letter.delivery, headers=looked_at, reply_to="amq.rabbitmq.reply-to")
    )

    renewed = renew(dead_letter)

    assert (renewed.exchange, renewed.routing_key, renewed.body) == (
        "omni.relay",
        "omni.dead",
        dead_letter.delivery.body,
    )
    assert renewed.headers == a_letter().delivery.headers
    assert renewed.reply_to is None
    assert read_dead(delivered(renewed)).identity == dead_letter.identity


@pytest.mark.parametrize("word", ["delivery_limit", "expired", "rejected", "maxlen"])
def test_a_renewed_dead_letter_of_the_broker_keeps_reason_and_time(word: str) -> None:
    dead_letter = by_broker(word)
    again = read_dead(delivered(renew(dead_letter)))

    assert (again.reason, again.failed_at, again.identity) == (dead_letter.reason, DIED, dead_letter.identity)
    assert "x-death" not in again.delivery.headers


def test_a_dead_letter_is_the_brokers_if_the_broker_says_so() -> None:
    assert is_of_the_broker(by_broker("rejected"))
    assert not is_of_the_broker(a_letter())


def test_one_of_unknown_age_that_is_put_back_stays_so() -> None:
    assert read_dead(delivered(renew(by_broker("expired", None)))).failed_at is None


def test_a_producers_headers_do_not_hide_the_brokers_reason() -> None:
    death = {"reason": "rejected", "exchange": "omni.requests", "queue": "omni.requests", "time": DIED}
    forged = {
        "omni-reason": "failed",
        "omni-detail": "http_503",
        "omni-failed-at": NOW.isoformat(),
        "omni-attempt": 7,
        "omni-redrive-count": 5,
        "omni-first-seen": 1,
        "omni-original-exchange": "elsewhere",
    }
    dead_letter = read_dead(replace(a_delivery(), exchange="omni.dead", headers={"x-death": [death], **forged}))

    assert (dead_letter.reason, dead_letter.detail, dead_letter.failed_at) == ("defect", "", DIED)
    assert (dead_letter.attempts, dead_letter.redrives) == (0, 0)
    assert is_of_the_broker(dead_letter)
    assert redrive(dead_letter).headers == {"omni-attempt": 0, "omni-ambiguous": True, "omni-redrive-count": 1}
    assert "omni-attempt" not in dead_letter.original.headers


def test_a_request_of_the_relay_that_workers_died_of_keeps_its_history() -> None:
    deaths = [{"reason": "delivery_limit", "exchange": "omni.relay", "queue": "omni.requests", "time": DIED}]
    own = {"omni-attempt": 7, "omni-redrive-count": 2, "omni-first-seen": 1_795_348_800_000, "omni-retries": 7}
    dead_letter = read_dead(replace(a_delivery(), exchange="omni.dead", headers={"x-death": deaths, **own}))

    assert (dead_letter.attempts, dead_letter.redrives) == (7, 2)
    assert redrive(dead_letter).headers["omni-first-seen"] == 1_795_348_800_000
    assert dead_letter.original.headers["omni-retries"] == 7


def test_headers_of_a_message_published_to_the_dead_letter_queue_by_others_do_not_count() -> None:
    dead_letter = read_dead(replace(a_delivery(), exchange="", headers={"omni-reason": "failed", "omni-attempt": 7}))

    assert (dead_letter.reason, dead_letter.attempts) == ("other", 0)
    assert not is_of_the_broker(dead_letter)


def test_a_replay_that_may_exist_twice_is_marked() -> None:
    """A worker must not take it for the only one."""
    assert redrive(a_letter(), republished=True).headers["omni-republished"] is True
    dead_letter = a_letter()
    twice = replace(dead_letter, delivery=replace(dead_letter.delivery, headers={"omni-republished": True}))
    assert redrive(twice).headers["omni-republished"] is True
    assert "omni-republished" not in redrive(dead_letter).headers


OLD, YOUNG = by_broker("expired", NOW - timedelta(hours=2)), by_broker("rejected", NOW - timedelta(minutes=1))


@pytest.mark.parametrize(
    ("selection", "old", "young"),
    [
        (Selection(), True, True),
        (Selection(reasons=("lapsed",)), True, False),
        (Selection(reasons=("lapsed", "defect")), True, True),
        (Selection(request_ids=("order-1",)), True, True),
        (Selection(request_ids=("order-2",)), False, False),
        (Selection(older_than=timedelta(hours=1)), True, False),
        (Selection(newer_than=timedelta(hours=1)), False, True),
        (Selection(("lapsed",), ("order-1",), timedelta(hours=1), timedelta(hours=3)), True, False),
    ],
)
def test_every_part_of_a_selection_must_fit(selection: Selection, *, old: bool, young: bool) -> None:
    assert (selection.holds(OLD, NOW), selection.holds(YOUNG, NOW)) == (old, young)


def test_one_of_unknown_age_is_neither_older_nor_newer() -> None:
    ageless = by_broker("expired", None)

    assert Selection().holds(ageless, NOW)
    assert not Selection(older_than=timedelta(0)).holds(ageless, NOW)
    assert not Selection(newer_than=timedelta(days=999)).holds(ageless, NOW)


def test_two_copies_of_a_dead_letter_are_equal_and_two_dead_letters_are_not() -> None:
    assert a_letter().identity == a_letter(None, **{"x-delivery-count": 3}).identity
    assert a_letter().identity != a_letter(replace(a_history(8), redrives=1)).identity
    assert a_letter().identity != by_broker("rejected").identity


@law
@given(table=headers, value=st.one_of(st.none(), st.integers(), st.text(), st.lists(st.none()), st.binary()))
def test_anything_can_be_read_and_replayed(table: dict[str, object], value: object) -> None:
    own = {"omni-reason": value, "omni-detail": value, "omni-failed-at": value, "x-death": value}
    dead_letter = read_dead(Delivery(b"\xff", headers={**table, **own}))

    assert redrive(dead_letter).headers["omni-redrive-count"] == dead_letter.redrives + 1


COMPRESSED = replace(a_delivery(gzip.compress(b'\xef\xbb\xbf{"requestId": "order-1"}')), content_encoding="gzip")


def test_a_compressed_dead_letter_has_its_request_id_and_stays_compressed() -> None:
    dead_letter = read_dead(COMPRESSED)

    assert dead_letter.request_id == "order-1"
    assert redrive(dead_letter).content_encoding == renew(dead_letter).content_encoding == "gzip"
    assert (redrive(dead_letter).body, renew(dead_letter).body) == (COMPRESSED.body, COMPRESSED.body)


@pytest.mark.parametrize(
    ("delivery", "text"),
    [
        (a_delivery(b'{"a": 1}'), '{"a": 1}'),
        (a_delivery("<a>é</a>".encode("utf-16")), "<a>é</a>"),
        (a_delivery(b"\xff"), "\ufffd"),
        (COMPRESSED, '{"requestId": "order-1"}'),
        (
            replace(a_delivery(b"{}"), content_encoding="br"),
            "(the body has the content encoding br: send it with gzip, or without one)",
        ),
    ],
)
def test_a_body_is_shown_as_text(delivery: Delivery, text: str) -> None:
    assert body_text(delivery) == text


def test_a_dead_letter_with_broken_compression_has_the_id_of_its_message() -> None:
    assert read_dead(replace(COMPRESSED, body=b"x", message_id="m")).request_id == "m"


def killed(body: bytes, reason: str) -> DeadLetter:
    death = [{"reason": reason, "queue": "omni.requests"}]
    return read_dead(Delivery(body, message_id="r", exchange="omni.dead", headers={"x-death": death}))


def test_the_messages_of_a_dead_letter_are_those_that_it_names_and_those_that_the_relay_names() -> None:
    people = [{"messageId": "a", "to": {"phoneNumber": "41793026727"}}, {"to": {"phoneNumber": "41793026728"}}]
    body = json.dumps({"requestId": "r", "destinations": people, "text": "Hello"}).encode()
    given, created = message_ids(killed(body, "expired"))

    assert given == "a"
    assert uuid.UUID(created).version == 5
    assert message_ids(a_letter()) == a_request().message_ids


def test_the_messages_of_a_faulty_dead_letter_are_named_too() -> None:
    body = b'{"requestId": "r", "messageId": "a", "phoneNumber": "1", "text": "Hello"}'

    assert message_ids(killed(body, "expired")) == ("a",)


@pytest.mark.parametrize("reason", ["delivery_limit", "rejected"])
def test_a_body_that_broke_a_worker_is_not_parsed_again(reason: str) -> None:
    named = killed(b'{"destinations": [{"messageId": "a"}, {"to": 1}, 2, {"messageId": 3}], "messageId": "b"}', reason)
    without = killed(b'{"phoneNumber": "41793026727", "text": "Hello"}', reason)

    assert message_ids(named) == ("b", "a")
    assert message_ids(without) == ()


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[1]", b'{"destinations": 1}', b"<request>", b"\xff\xfe"])
def test_nonsense_has_no_messages(body: bytes) -> None:
    assert message_ids(killed(body, "expired")) == message_ids(killed(body, "rejected")) == ()


def test_a_replay_of_the_relays_own_dead_letter_stays_in_its_lane() -> None:
    report = Report((), (), (DeadLetterMessage(a_request(), a_history(8), "failed", "http_503"),))
    (publication,) = publish_report(report, replace(a_delivery(), lane=URGENT), NOW)
    stored_again = renew(read_dead(delivered(publication)))

    for dead in (publication, stored_again):
        replay = redrive(read_dead(delivered(dead)))
        assert (replay.routing_key, replay.lane) == ("omni.requests.urgent", URGENT)
        assert "omni-lane" not in replay.headers


@pytest.mark.parametrize(
    ("queue", "lane"),
    [
        ("omni.requests", NORMAL),
        ("omni.requests.delay.1", NORMAL),
        ("omni.requests.urgent", URGENT),
        ("omni.requests.urgent.delay.1", URGENT),
        (7, NORMAL),
    ],
)
def test_the_queue_in_which_a_request_died_gives_its_lane(queue: object, lane: Lane) -> None:
    death = {"reason": "rejected", "time": DIED, "queue": queue, "exchange": "omni.requests"}
    dead_letter = read_dead(replace(a_delivery(), exchange="omni.dead", headers={"x-death": [death]}))

    assert dead_letter.original.lane is lane
    assert redrive(dead_letter).routing_key == lane.requests
    assert is_of_the_broker(dead_letter) is (queue == lane.requests)
    assert redrive(read_dead(delivered(renew(dead_letter)))).routing_key == lane.requests


def test_a_producer_cannot_write_the_lane_of_a_dead_letter() -> None:
    death = {"reason": "rejected", "time": DIED, "queue": "omni.requests", "exchange": "omni.requests"}
    headers = {"x-death": [death], "omni-lane": "urgent"}

    assert redrive(read_dead(replace(a_delivery(), exchange="omni.dead", headers=headers))).lane is NORMAL


def test_a_dead_letter_of_the_relay_that_a_policy_moved_keeps_its_lane() -> None:
    death = {"reason": "maxlen", "time": DIED, "queue": "omni.dead", "exchange": "omni.relay"}
    headers = {"x-death": [death], "omni-lane": "urgent"}

    assert read_dead(replace(a_delivery(), exchange="omni.dead", headers=headers)).delivery.lane is URGENT
