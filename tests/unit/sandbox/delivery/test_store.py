from datetime import UTC, datetime

from service.sandbox.delivery.store import KEPT_BYTES, Call, Ledger, Message

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CALL = Call("/omni/1/advanced", "application/json", "App", NOW)


def message(message_id: str) -> Message:
    return Message(message_id, None, {"phoneNumber": "1"}, ("sms",), None, NOW, call=1)


def test_the_oldest_entries_go_first() -> None:
    ledger = Ledger(keep=3)
    for index in range(5):
        ledger.amend(ledger.open(CALL), status=200)
        ledger.close()
        ledger.take([message(f"m-{index}")])

    assert [number for number, _ in ledger.calls()] == [3, 4, 5]
    assert [one.message_id for one in ledger.messages()] == ["m-2", "m-3", "m-4"]
    assert ledger.stats() == {
        "calls": 5,
        "messagesTaken": 5,
        "messagesTakenMoreThanOnce": 0,
        "maxInFlight": 1,
        "inFlight": 0,
    }


def test_large_bodies_make_room_sooner() -> None:
    ledger = Ledger(keep=1000)
    for _ in range(5):
        ledger.amend(ledger.open(CALL), body=b"x" * (KEPT_BYTES // 2))

    assert [number for number, _ in ledger.calls()] == [4, 5]


def test_what_is_learnt_of_a_forgotten_call_is_dropped() -> None:
    ledger = Ledger(keep=10)
    number = ledger.open(CALL)
    ledger.forget()
    ledger.amend(number, body=b"x", status=200)
    ledger.close()

    assert ledger.calls() == []
    assert ledger.stats()["inFlight"] == 0
