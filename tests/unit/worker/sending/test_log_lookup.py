import asyncio
from collections.abc import Callable, Iterator

from service.core.attempt.log_access import PERIOD, REFUSALS
from service.core.attempt.lookup import Answered, Forbidden, LookupResult, Unanswered
from service.core.history import LookupPurpose
from service.core.omni.answer import LogEntry
from service.core.topology import URGENT
from service.worker.sending.log_lookup import LONGEST_QUERY, MOST_IDS, LogLookup
from tests.support.builder import a_status
from tests.support.loop import loop_time

PURPOSES: tuple[LookupPurpose, ...] = ("required", "best_effort")


class Omni:
    """Logs that show everything, or what the test says."""

    def __init__(self, answer: Callable[[tuple[str, ...]], LookupResult] | None = None) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.reported: list[LookupResult] = []
        self._answer = answer or everything

    async def ask(self, ids: tuple[str, ...]) -> LookupResult:
        self.asked.append(ids)
        await asyncio.sleep(0)
        return self._answer(ids)

    def lookup(self, rate: float = 60_000, chance: Callable[[], float] = lambda: 0.0) -> LogLookup:
        return LogLookup(self.ask, rate, self.reported.append, loop_time, chance)


def everything(ids: tuple[str, ...]) -> LookupResult:
    return Answered({one: (LogEntry(message_id=one, status=a_status()),) for one in ids})


def names(lookup_result: LookupResult) -> set[str]:
    assert isinstance(lookup_result, Answered)
    return set(lookup_result.entries)


async def test_lookups_of_one_moment_share_a_query() -> None:
    omni = Omni()
    lookup = omni.lookup()

    lookup_results = await asyncio.gather(*(lookup.look((f"m-{number}",), "required") for number in range(MOST_IDS)))

    assert omni.asked == [tuple(f"m-{number}" for number in range(MOST_IDS))]
    assert all(f"m-{number}" in names(lookup_result) for number, lookup_result in enumerate(lookup_results))


async def test_a_lookup_about_more_than_fits_is_answered_as_a_whole() -> None:
    omni = Omni()
    ids = tuple(f"m-{number}" for number in range(2 * MOST_IDS + 1))

    lookup_result = await omni.lookup().look(ids, "required")

    assert [len(asked) for asked in omni.asked] == [MOST_IDS, MOST_IDS, 1]
    assert names(lookup_result) == set(ids)


async def test_long_ids_need_more_queries() -> None:
    omni = Omni()
    ids = tuple(f"{number}{'é' * 300}" for number in range(5))  # each byte takes three in a URL

    assert names(await omni.lookup().look(ids, "required")) == set(ids)
    assert len(omni.asked) == 2
    assert 3 * 300 * 6 < LONGEST_QUERY < 5 * 300 * 6


async def test_no_more_is_asked_than_omni_allows() -> None:
    omni = Omni()
    lookup = omni.lookup(rate=1200)
    started = loop_time()

    for _ in range(5):
        await lookup.look(("m",), "required")

    assert loop_time() - started >= 4 * 60 / 1200


async def test_a_retry_after_delays_every_lookup() -> None:
    answers: Iterator[LookupResult] = iter([Unanswered("http_429", 0.2), Answered({})])
    omni = Omni(lambda _: next(answers))
    lookup = omni.lookup()
    started = loop_time()

    assert isinstance(await lookup.look(("m",), "required"), Unanswered)
    assert await lookup.look(("m",), "required") == Answered({})
    assert loop_time() - started >= 0.15


async def test_a_refusal_is_no_answer_until_it_is_persistent() -> None:
    omni = Omni(lambda _: Forbidden("http_403"))
    lookup = omni.lookup()

    assert [await lookup.look(("m",), "required") for _ in range(3)] == [Unanswered("http_403")] * 3
    assert omni.reported == [Unanswered("http_403")] * 3


async def test_denied_logs_are_not_asked_again_for_a_while() -> None:
    omni = Omni(lambda _: Forbidden("http_403"))
    lookup = omni.lookup()
    for _ in range(REFUSALS - 1):
        await lookup.look(("m",), "required")
    await asyncio.sleep(PERIOD)
    omni.asked.clear()
    omni.reported.clear()

    assert [await lookup.look(("m",), purpose) for purpose in (*PURPOSES, *PURPOSES)] == [Forbidden("http_403")] * 4
    assert omni.asked == [("m",)]
    assert omni.reported == [Forbidden("http_403")]


async def test_a_best_effort_lookup_about_many_messages_is_made_in_parts() -> None:
    omni = Omni()
    ids = tuple(f"m-{number}" for number in range(150))

    assert names(await omni.lookup().look(ids, "best_effort")) == set(ids)
    assert [len(asked) for asked in omni.asked] == [100, 50]


async def test_a_best_effort_lookup_that_would_wait_long_is_not_made() -> None:
    omni = Omni()
    lookup = omni.lookup(rate=12)  # a question takes five seconds
    await lookup.look(("first",), "best_effort")
    required = [
        asyncio.create_task(lookup.look(tuple(f"{name}-{number}" for number in range(MOST_IDS)), "required"))
        for name in "ab"
    ]
    await asyncio.sleep(0)

    assert await lookup.look(("other",), "best_effort") == Unanswered("busy")
    for lookup_task in required:
        lookup_task.cancel()


async def test_a_request_with_many_messages_takes_turns_with_others() -> None:
    omni = Omni()
    lookup = omni.lookup()
    many = asyncio.create_task(lookup.look(tuple(f"m-{number}" for number in range(10 * MOST_IDS)), "required"))
    await asyncio.sleep(0)

    assert names(await lookup.look(("other",), "best_effort")) == {"other"}
    assert len(omni.asked) <= 3
    assert len(names(await many)) == 10 * MOST_IDS


class LongLogs(Omni):
    """Logs with several entries of each message, of which an answer has so many at most, in the order of ids."""

    def __init__(self, of_each: int, limit: int) -> None:
        super().__init__(self._page)
        self._of_each = of_each
        self._limit = limit

    def _page(self, ids: tuple[str, ...]) -> LookupResult:
        all_ = [LogEntry(message_id=one, status=a_status()) for one in sorted(ids) for _ in range(self._of_each)]
        page = all_[: self._limit]
        entries = {one: tuple(entry for entry in page if entry.message_id == one) for one in ids}
        shown = {one: listed for one, listed in entries.items() if listed}
        return Answered(shown, frozenset(ids if len(page) == self._limit else ()))


async def test_a_full_page_is_asked_again_in_halves_until_none_is_full() -> None:
    omni = LongLogs(of_each=12, limit=1000)
    ids = tuple(f"m-{number:03}" for number in range(100))

    lookup_result = await omni.lookup().look(ids, "required")

    assert names(lookup_result) == set(ids)
    assert isinstance(lookup_result, Answered)
    assert lookup_result.incomplete == frozenset()
    assert [len(asked) for asked in omni.asked] == [100, 50, 50]


async def test_a_message_with_more_entries_than_a_page_is_incomplete() -> None:
    omni = LongLogs(of_each=3, limit=3)

    lookup_result = await omni.lookup().look(("m-1", "m-2", "m-3"), "required")

    assert isinstance(lookup_result, Answered)
    assert lookup_result.incomplete == {"m-1", "m-2", "m-3"}
    assert names(lookup_result) == {"m-1", "m-2", "m-3"}


async def test_halves_keep_to_the_rate_and_one_without_an_answer_leaves_the_whole_without() -> None:
    omni = Omni(lambda ids: Answered({}, frozenset(ids)) if len(ids) > 1 else Unanswered("timeout"))
    started = loop_time()

    assert await omni.lookup(rate=1200).look(("m-1", "m-2"), "required") == Unanswered("timeout")
    assert omni.asked == [("m-1", "m-2"), ("m-1",)]
    assert loop_time() - started >= 60 / 1200


async def test_one_part_without_an_answer_leaves_the_whole_without() -> None:
    omni = Omni(lambda ids: Unanswered("timeout") if "m-0" in ids else everything(ids))

    assert await omni.lookup().look(tuple(f"m-{n}" for n in range(MOST_IDS + 1)), "required") == Unanswered("timeout")


async def test_a_lookup_that_is_cancelled_does_not_affect_the_others() -> None:
    omni = Omni()
    lookup = omni.lookup()
    gone = asyncio.create_task(lookup.look(("gone",), "required"))
    stays = asyncio.create_task(lookup.look(("stays",), "required"))
    await asyncio.sleep(0)
    gone.cancel()

    assert "stays" in names(await stays)


async def test_questions_about_urgent_messages_are_asked_first_and_do_not_wait_for_others() -> None:
    omni = Omni()
    lookup = omni.lookup(rate=60)
    await lookup.look(("first",), "required")
    normal = [
        asyncio.create_task(lookup.look(tuple(f"{name}-{number}" for number in range(MOST_IDS)), "required"))
        for name in range(20)
    ]
    await asyncio.sleep(0)
    assert await lookup.look(("normal",), "best_effort") == Unanswered("busy")
    urgent = await asyncio.wait_for(lookup.look(("urgent",), "best_effort", URGENT), 1.5)

    assert names(urgent) == {"urgent"}
    for task in normal:
        task.cancel()


async def test_an_urgent_question_does_not_wait_while_others_are_asked_again_in_halves() -> None:
    def most(ids: tuple[str, ...]) -> LookupResult:
        answered = everything(ids)
        assert isinstance(answered, Answered)
        return Answered(answered.entries, frozenset(ids) if len(ids) > 1 else frozenset())

    omni = Omni(most)
    lookup = omni.lookup(rate=60)
    normal = asyncio.create_task(lookup.look(tuple(f"m-{number}" for number in range(MOST_IDS)), "required"))
    await asyncio.sleep(2.5)
    urgent = await asyncio.wait_for(lookup.look(("urgent",), "required", URGENT), 2)

    assert names(urgent) == {"urgent"}
    assert not normal.done()
    assert len(names(await normal)) == MOST_IDS


async def test_a_question_of_both_lanes_without_a_complete_answer_is_divided_by_lane_first() -> None:
    omni = Omni(lambda ids: Answered({}, frozenset(ids) if len(ids) > 2 else frozenset()))
    lookup = omni.lookup()
    await asyncio.gather(
        lookup.look(("n-1", "n-2"), "required"),
        lookup.look(("u-1",), "required", URGENT),
    )

    assert omni.asked == [("u-1", "n-1", "n-2"), ("u-1",), ("n-1", "n-2")]


def refusing(ids: tuple[str, ...]) -> LookupResult:
    return Unanswered("http_403") if any(one.startswith("refused") for one in ids) else everything(ids)


async def test_an_id_that_is_refused_leaves_only_its_own_question_without_an_answer() -> None:
    omni = Omni(refusing)
    lookup = omni.lookup()
    names_of_others = [f"m-{number}" for number in range(40)]

    refused, *others = await asyncio.gather(
        *(lookup.look((name,), "required") for name in ("refused", *names_of_others))
    )

    assert refused == Unanswered("http_403")
    assert all(name in names(other) for name, other in zip(names_of_others, others, strict=True))


async def test_an_id_that_is_refused_shares_no_query_any_more_and_waits_for_no_other() -> None:
    omni = Omni(refusing)
    lookup = omni.lookup(rate=1200)
    await lookup.look(("m-1",), "required")
    assert await lookup.look(("refused",), "required") == Unanswered("http_403")
    omni.asked.clear()

    other = asyncio.create_task(lookup.look(("m-2",), "required"))
    await asyncio.sleep(0)
    assert await lookup.look(("refused",), "required") == Unanswered("busy")
    await other
    assert omni.asked == [("m-2",)]
    await asyncio.sleep(2 * 60 / 1200)
    both = await asyncio.gather(lookup.look(("refused",), "required"), lookup.look(("m-3",), "required"))

    assert omni.asked == [("m-2",), ("refused",), ("m-3",)]
    assert both[0] == Unanswered("http_403")
    assert names(both[1]) == {"m-3"}


async def test_an_id_that_is_not_refused_any_more_shares_queries_again() -> None:
    refused = {"m-1"}
    omni = Omni(lambda ids: Unanswered("http_403") if refused.intersection(ids) else everything(ids))
    lookup = omni.lookup()
    await lookup.look(("other",), "required")
    assert await lookup.look(("m-1",), "required") == Unanswered("http_403")
    refused.clear()
    await asyncio.sleep(0.01)
    await lookup.look(("m-1",), "required")
    omni.asked.clear()

    await asyncio.gather(*(lookup.look((name,), "required") for name in ("m-1", "m-2")))
    assert omni.asked == [("m-1", "m-2")]


async def test_while_the_logs_answer_nobody_no_question_is_to_blame_and_few_queries_are_made() -> None:
    omni = Omni(lambda _: Unanswered("http_500"))
    lookup = omni.lookup()
    for _ in range(3):
        results = await asyncio.gather(*(lookup.look((f"m-{number}",), "required") for number in range(MOST_IDS)))
        assert results == [Unanswered("http_500")] * MOST_IDS
    omni.asked.clear()

    await asyncio.gather(*(lookup.look((f"m-{number}",), "required") for number in range(MOST_IDS)))
    assert len(omni.asked) <= 3


async def test_while_the_logs_answer_nobody_any_question_may_be_the_one_that_is_asked_alone() -> None:
    omni = Omni(lambda _: Unanswered("http_500"))
    lookup = omni.lookup(chance=lambda: 0.99)
    for number in range(8):
        await lookup.look((f"m-{number}",), "required")
    omni.asked.clear()

    await asyncio.gather(*(lookup.look((f"m-{number}",), "required") for number in range(MOST_IDS)))

    assert [len(asked) for asked in omni.asked] == [MOST_IDS, 1]
    assert omni.asked[1] == (f"m-{MOST_IDS - 1}",)


async def test_the_ids_that_are_remembered_as_refused_are_bounded() -> None:
    omni = Omni(refusing)
    lookup = omni.lookup()
    await lookup.look(("m",), "required")
    for first in range(0, 10_200, 100):
        await asyncio.sleep(0.002)
        await lookup.look(tuple(f"refused-{number}" for number in range(first, first + 100)), "required")

    omni.asked.clear()
    await asyncio.gather(lookup.look(("refused-0",), "required"), lookup.look(("other",), "required"))

    assert omni.asked[0] == ("refused-0", "other")
