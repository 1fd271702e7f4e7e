import pytest

from service.core.attempt.claim import AWAY, FREE, claim_of, written
from service.core.result.event import Reason
from service.core.result.repetition import write_ends
from service.core.result.trail import read_state, read_trail
from tests.support.builder import NOW, a_history, a_request
from tests.unit.core.result.test_repetition import event

BEGUN = claim_of("x", a_request(), a_history(), {}, "w.1", redelivered=False, kept=1, worker="host:7").value


def test_the_trail_of_a_request_says_what_happened_and_when() -> None:
    deferred = write_ends([event(0, "message.deferred", reason=Reason("ambiguous", "x"))], is_whole=False)
    known = (BEGUN + deferred + write_ends([event(0), event(1)], is_whole=False)).encode()
    begun, first, last = read_trail(known)
    assert begun == {"event": "begun", "time": NOW.isoformat().replace("+00:00", "Z"), "worker": "host:7"}
    assert (first["event"], first["attempt"], first["reason"], first["messages"]) == ("deferred", 2, "ambiguous", 1)
    assert (last["event"], last["bulkId"], last["messages"]) == ("accepted", "bulk-1", 2)
    assert last["status"] == {"groupId": 1, "groupName": "PENDING", "id": 7, "name": "PENDING_ENROUTE"}
    assert last["time"] == "2026-11-22T12:00:00.000007+00:00"
    assert [row["event"] for row in read_trail(known, "m-1")] == ["begun", "accepted"]
    assert [row["messages"] for row in read_trail(known, "m-1")[1:]] == [1]


def test_an_event_of_all_messages_is_one_of_each() -> None:
    known = (
        BEGUN + write_ends([event(number, bulk_id=None, status=None) for number in range(4)], is_whole=True)
    ).encode()
    row = read_trail(known, "m-3")[1]
    assert (row["messages"], row["status"], row["bulkId"]) == (None, None, None)


@pytest.mark.parametrize("line", ["", "{", "7", "[]", '["begun",1,2]', '["accepted","x",1,null,null,null]'])
def test_what_another_program_has_written_is_left_out(line: str) -> None:
    assert read_trail(f"m w.1\n{line}\n".encode()) == []


def test_a_time_that_cannot_be_is_none() -> None:
    (row,) = read_trail(b'm w.1\n["accepted",9999999999999999999,1,null,null,null]\n')
    assert row["time"] is None


def test_the_state_says_who_has_it() -> None:
    assert read_state(BEGUN.encode()).startswith("is with a worker")
    assert read_state(written("m", AWAY).encode()) == "ended, or waits in a delay queue"
    assert read_state(written("m", FREE).encode()) == "waits for the broker to deliver it again"
