import pytest
import structlog

from service.edges.log import Sampler


class Clock:
    """Seconds that pass when they are told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def said(sampler: Sampler, event: str, times: int, method: str = "info") -> list[dict[str, object]]:
    """Log an event so often; gives what was let through."""
    lines: list[dict[str, object]] = []
    for _ in range(times):
        try:
            lines.append(dict(sampler(None, method, {"event": event})))
        except structlog.DropEvent:
            continue
    return lines


def test_of_each_event_so_many_lines_a_second_are_let_through_and_the_rest_is_counted() -> None:
    clock = Clock()
    sampler = Sampler(3, clock)

    assert said(sampler, "a.done", 10) == [{"event": "a.done"}] * 3
    assert said(sampler, "b.done", 2) == [{"event": "b.done"}] * 2
    clock.now += 1
    assert said(sampler, "a.done", 2) == [{"event": "a.done", "left_out": 7}, {"event": "a.done"}]
    assert said(sampler, "b.done", 1) == [{"event": "b.done"}]


@pytest.mark.parametrize("method", ["warning", "error", "critical"])
def test_what_tells_of_something_wrong_is_never_left_out(method: str) -> None:
    assert len(said(Sampler(1, Clock()), "a.failed", 50, method)) == 50
