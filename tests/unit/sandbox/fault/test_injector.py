import random

from service.sandbox.fault.fault import Fault, Kind
from service.sandbox.fault.injector import Hazards
from service.sandbox.schema.request import Destination, SendRequest


def request_to(*numbers: str) -> SendRequest:
    destinations = [Destination({"phoneNumber": number}, f"to-{number}") for number in numbers]
    return SendRequest(destinations=destinations, bulk_id=None, send_at=None)


def hazards(*faults: Fault, keep: int = 10) -> Hazards:
    made = Hazards(random.Random(7), keep)  # noqa: S311  # repeatable dice
    for fault in faults:
        made.set(fault)
    return made


PLAIN = request_to("41793026727")


def test_latencies_add_up_and_the_first_other_fault_strikes() -> None:
    late, down, reset = Fault(Kind.LATENCY, seconds=1), Fault(Kind.STATUS, status=503, seconds=2), Fault(Kind.RESET)

    strike = hazards(late, down, reset, late).strike(PLAIN)

    assert (strike.seconds, strike.fault) == (4, down)


def test_a_fault_that_does_not_strike_is_not_used_up() -> None:
    down, reset = Fault(Kind.STATUS, status=503, times=1), Fault(Kind.RESET, times=1)
    dangers = hazards(down, reset)

    assert [strike.fault and strike.fault.kind for strike in (dangers.strike(PLAIN) for _ in range(3))] == [
        Kind.STATUS,
        Kind.RESET,
        None,
    ]


def test_a_probability_is_drawn_for_every_call_and_is_repeatable() -> None:
    half = Fault(Kind.RESET, probability=0.5)
    one, other = hazards(half), hazards(half)

    struck = [one.strike(PLAIN).fault is not None for _ in range(1000)]

    assert 400 < sum(struck) < 600
    assert struck == [other.strike(PLAIN).fault is not None for _ in range(1000)]


def test_nothing_happens_with_probability_zero() -> None:
    assert all(hazards(Fault(Kind.RESET, probability=0)).strike(PLAIN).fault is None for _ in range(100))


def test_several_numbers_that_fail_the_whole_call_take_turns() -> None:
    dangers = hazards()
    request = request_to("4179390503", "4179390006", "4179390500", "4189390503")

    strikes = [dangers.strike(request) for _ in range(4)]

    assert [strike.fault and strike.fault.status for strike in strikes] == [503, 500, None, None]
    assert [status.id for status in strikes[2].statuses] == [7, 6, 7, 7]
    assert [status.id for status in strikes[3].statuses] == [7, 7, 7, 7]


def test_a_set_fault_comes_before_what_a_number_asks_for() -> None:
    dangers = hazards(Fault(Kind.HANG, times=1))
    request = request_to("4179390503")

    assert [strike.fault and strike.fault.kind for strike in (dangers.strike(request) for _ in range(3))] == [
        Kind.HANG,
        Kind.STATUS,
        None,
    ]


def test_the_memory_of_numbers_is_bounded() -> None:
    dangers = hazards(keep=2)
    for number in ("1190503", "2290503", "3390503"):
        dangers.strike(request_to(number))

    assert dangers.strike(request_to("3390503")).fault is None
    assert dangers.strike(request_to("1190503")).fault is not None
