from datetime import UTC, datetime

from service.sandbox.delivery.store import KEPT_BYTES, Call, Message, Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CALL = Call("/omni/1/advanced", "application/json", "App", NOW)


def message(message_id: str) -> Message:
    return Message(message_id, None, {"phoneNumber": "1"}, ("sms",), None, NOW, call=1)


def test_the_oldest_entries_are_dropped_first() -> None:
    store = Store(keep=3)
    for index in range(5):
        store.amend(store.open(CALL), status=200)
        store.close()
        store.add([message(f"m-{index}")])

    assert [number for number, _ in store.calls()] == [3, 4, 5]
    assert [one.message_id for one in store.messages()] == ["m-2", "m-3", "m-4"]
    assert store.stats() == {
        "calls": 5,
        "messagesTaken": 5,
        "messagesTakenMoreThanOnce": 0,
        "maxInFlight": 1,
        "faults": 0,
        "inFlight": 0,
    }


def test_large_bodies_are_dropped_earlier() -> None:
    store = Store(keep=1000)
    for _ in range(5):
        store.amend(store.open(CALL), body=b"x" * (KEPT_BYTES // 2))

    assert [number for number, _ in store.calls()] == [4, 5]


def test_answers_count_as_bodies_do() -> None:
    store = Store(keep=1000)
    for _ in range(5):
        store.amend(store.open(CALL), status=200, answer=b"x" * (KEPT_BYTES // 2))

    assert [number for number, _ in store.calls()] == [4, 5]
    assert store.call(3) is None


def test_an_update_of_a_dropped_call_is_ignored() -> None:
    store = Store(keep=10)
    number = store.open(CALL)
    store.forget()
    store.amend(number, body=b"x", status=200)
    store.close()

    assert store.calls() == []
    assert store.stats()["inFlight"] == 0
