import asyncio
import time
from collections.abc import Callable, Iterator

from service.app.lookout import LONGEST_QUERY, MOST_IDS, Lookout
from service.words.finding import Answered, Finding, Forbidden, Unanswered
from service.words.omni.answer import LogEntry
from tests.support.builder import a_status


class Omni:
    """Logs that show everything, or answer as they are told."""

    def __init__(self, answer: Callable[[tuple[str, ...]], Finding] | None = None) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.told: list[Finding] = []
        self._answer = answer or everything

    async def ask(self, ids: tuple[str, ...]) -> Finding:
        self.asked.append(ids)
        await asyncio.sleep(0)
        return self._answer(ids)

    def lookout(self, rate: float = 60_000) -> Lookout:
        return Lookout(self.ask, rate, self.told.append)


def everything(ids: tuple[str, ...]) -> Finding:
    return Answered({one: (LogEntry(message_id=one, status=a_status()),) for one in ids})


def names(finding: Finding) -> set[str]:
    assert isinstance(finding, Answered)
    return set(finding.entries)


async def test_those_who_ask_at_once_share_a_question() -> None:
    omni = Omni()
    lookout = omni.lookout()

    findings = await asyncio.gather(*(lookout.look((f"m-{number}",), "doubt") for number in range(MOST_IDS)))

    assert omni.asked == [tuple(f"m-{number}" for number in range(MOST_IDS))]
    assert all(f"m-{number}" in names(finding) for number, finding in enumerate(findings))


async def test_one_who_asks_about_more_than_fits_is_answered_whole() -> None:
    omni = Omni()
    ids = tuple(f"m-{number}" for number in range(2 * MOST_IDS + 1))

    finding = await omni.lookout().look(ids, "doubt")

    assert [len(asked) for asked in omni.asked] == [MOST_IDS, MOST_IDS, 1]
    assert names(finding) == set(ids)


async def test_long_names_make_for_more_questions() -> None:
    omni = Omni()
    ids = tuple(f"{number}{'é' * 300}" for number in range(5))  # each byte takes three in a URL

    assert names(await omni.lookout().look(ids, "doubt")) == set(ids)
    assert len(omni.asked) == 2
    assert 3 * 300 * 6 < LONGEST_QUERY < 5 * 300 * 6


async def test_no_more_is_asked_than_omni_allows() -> None:
    omni = Omni()
    lookout = omni.lookout(rate=1200)
    started = time.monotonic()

    for _ in range(5):
        await lookout.look(("m",), "doubt")

    assert time.monotonic() - started >= 4 * 60 / 1200


async def test_when_omni_asks_for_patience_everybody_waits() -> None:
    answers: Iterator[Finding] = iter([Unanswered("http_429", 0.2), Answered({})])
    omni = Omni(lambda _: next(answers))
    lookout = omni.lookout()
    started = time.monotonic()

    assert isinstance(await lookout.look(("m",), "doubt"), Unanswered)
    assert await lookout.look(("m",), "doubt") == Answered({})
    assert time.monotonic() - started >= 0.15


async def test_logs_that_are_closed_are_not_asked_again_for_a_while() -> None:
    omni = Omni(lambda _: Forbidden("http_403"))
    lookout = omni.lookout()

    assert [await lookout.look(("m",), "doubt") for _ in range(3)] == [Forbidden("http_403")] * 3
    assert len(omni.asked) == len(omni.told) == 1


async def test_whoever_only_makes_sure_does_not_wait_behind_doubts() -> None:
    omni = Omni()
    lookout = omni.lookout()
    doubts = asyncio.create_task(lookout.look(tuple(f"m-{number}" for number in range(MOST_IDS)), "doubt"))
    await asyncio.sleep(0)

    assert await lookout.look(("other",), "glance") == Unanswered("busy")
    await doubts
    assert names(await lookout.look(("other",), "glance")) == {"other"}


async def test_one_part_without_an_answer_leaves_the_whole_without() -> None:
    omni = Omni(lambda ids: Unanswered("timeout") if "m-0" in ids else everything(ids))

    assert await omni.lookout().look(tuple(f"m-{n}" for n in range(MOST_IDS + 1)), "doubt") == Unanswered("timeout")


async def test_whoever_gives_up_does_not_keep_the_others_from_their_answer() -> None:
    omni = Omni()
    lookout = omni.lookout()
    gone = asyncio.create_task(lookout.look(("gone",), "doubt"))
    stays = asyncio.create_task(lookout.look(("stays",), "doubt"))
    await asyncio.sleep(0)
    gone.cancel()

    assert "stays" in names(await stays)
