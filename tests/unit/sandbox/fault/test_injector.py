import random

from service.sandbox.fault.fault import Fault, Kind
from service.sandbox.fault.injector import FaultInjector
from service.sandbox.schema.request import Destination, SendRequest


def request_to(*numbers: str) -> SendRequest:
    destinations = [Destination({"phoneNumber": number}, f"to-{number}") for number in numbers]
    return SendRequest(destinations=destinations, bulk_id=None, send_at=None)


def injector_with(*faults: Fault, keep: int = 10) -> FaultInjector:
    made = FaultInjector(random.Random(7), keep)  # noqa: S311  # repeatable
    for fault in faults:
        made.set(fault)
    return made


PLAIN = request_to("41793026727")


def test_latencies_add_up_and_the_first_other_fault_applies() -> None:
    late, down, reset = Fault(Kind.LATENCY, seconds=1), Fault(Kind.STATUS, status=503, seconds=2), Fault(Kind.RESET)

    injection = injector_with(late, down, reset, late).for_send(PLAIN)

    assert (injection.seconds, injection.fault) == (4, down)


def test_a_fault_that_is_not_injected_is_not_used_up() -> None:
    down, reset = Fault(Kind.STATUS, status=503, times=1), Fault(Kind.RESET, times=1)
    injector = injector_with(down, reset)

    assert [injection.fault and injection.fault.kind for injection in (injector.for_send(PLAIN) for _ in range(3))] == [
        Kind.STATUS,
        Kind.RESET,
        None,
    ]


def test_a_probability_applies_to_every_call_and_is_repeatable() -> None:
    half = Fault(Kind.RESET, probability=0.5)
    one, other = injector_with(half), injector_with(half)

    struck = [one.for_send(PLAIN).fault is not None for _ in range(1000)]

    assert 400 < sum(struck) < 600
    assert struck == [other.for_send(PLAIN).fault is not None for _ in range(1000)]


def test_a_fault_with_probability_zero_is_never_injected() -> None:
    assert all(injector_with(Fault(Kind.RESET, probability=0)).for_send(PLAIN).fault is None for _ in range(100))


def test_numbers_that_request_different_faults_of_the_call_take_turns() -> None:
    injector = injector_with()
    request = request_to("4179390503", "4179390006", "4179390500", "4189390503")

    injections = [injector.for_send(request) for _ in range(4)]

    assert [injection.fault and injection.fault.status for injection in injections] == [503, 500, None, None]
    assert [status.id for status in injections[2].statuses] == [7, 6, 7, 7]
    assert [status.id for status in injections[3].statuses] == [7, 7, 7, 7]


def test_a_set_fault_precedes_one_requested_by_a_number() -> None:
    injector = injector_with(Fault(Kind.HANG, times=1))
    request = request_to("4179390503")

    assert [
        injection.fault and injection.fault.kind for injection in (injector.for_send(request) for _ in range(3))
    ] == [
        Kind.HANG,
        Kind.STATUS,
        None,
    ]


def test_the_record_of_numbers_is_bounded() -> None:
    injector = injector_with(keep=2)
    for number in ("1190503", "2290503", "3390503"):
        injector.for_send(request_to(number))

    assert injector.for_send(request_to("3390503")).fault is None
    assert injector.for_send(request_to("1190503")).fault is not None
