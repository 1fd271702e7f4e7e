from datetime import timedelta

from service.sandbox.delivery.clock import Clock
from service.sandbox.wire.auth import RateLimit


def test_a_clock_runs_at_its_speed_stops_and_advances() -> None:
    ticks = [100.0]
    clock = Clock(speed=60, ticks=lambda: ticks[0])
    start = clock.now()

    ticks[0] += 2
    assert clock.now() - start == timedelta(minutes=2)
    assert clock.wait_for(start + timedelta(minutes=5)) == 3
    assert clock.wait_for(start) == 0

    clock.run_at(0)
    ticks[0] += 1000
    assert clock.now() - start == timedelta(minutes=2)
    assert clock.wait_for(start + timedelta(minutes=5)) is None

    clock.advance(60)
    assert clock.now() - start == timedelta(minutes=3)


def test_a_rate_limit_allows_a_number_of_calls_in_any_minute() -> None:
    clock, rate_limit = Clock(speed=0), RateLimit()

    let = []
    for _ in range(10):
        let.append(rate_limit.allows(clock.now(), limit=2))
        clock.advance(20)

    assert let == [True, True, False] * 3 + [True]
