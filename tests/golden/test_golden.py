"""Requests as producers write them against the calls made of them; answers of OMNI against what they mean.

A pair is a folder: `request.json` with `calls.json`, the payloads exactly as posted; `answer.http`, an HTTP answer to a
call about two people, with `outcome.json`. To add one, write the first file, run the test, and copy what it shows
once it is what OMNI's documentation asks for.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

import pytest

from service.core.attempt.answer import read_answer
from service.core.attempt.call import Origin, plan
from service.core.attempt.disposition import judge
from service.core.attempt.retry import Policy, RetryPolicy
from tests.support.builder import EMAIL, NOW, OTHER_PHONE, PHONE, a_delivery, a_history, a_message, parsed

HERE: Final = Path(__file__).parent
REQUESTS: Final = sorted(path.parent for path in HERE.glob("requests/*/request.json"))
ANSWERS: Final = sorted(path.parent for path in HERE.glob("answers/*/answer.http"))
PEOPLE: Final = (a_message("MESSAGE-ID-123-xyz", PHONE, EMAIL), a_message("m-2", OTHER_PHONE))


def pretty(value: object) -> str:
    """Write it so that a difference is a line; the order of keys counts."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"


@pytest.mark.parametrize("folder", REQUESTS, ids=lambda folder: folder.name)
def test_a_request_becomes_these_calls(folder: Path) -> None:
    request = parsed(a_delivery((folder / "request.json").read_bytes())).request
    assert request is not None

    calls = plan(request, a_history(), Origin(), Policy(RetryPolicy()))

    posted = [json.loads(call.to_json()) for call in calls]
    assert pretty(posted) == (folder / "calls.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", ANSWERS, ids=lambda folder: folder.name)
def test_an_answer_means_this_outcome(folder: Path) -> None:
    head, _, body = (folder / "answer.http").read_bytes().partition(b"\n\n")
    first, *rest = head.decode().strip().splitlines()
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}

    outcome = read_answer(int(first.split()[1]), headers, body, PEOPLE, NOW)

    message_outcomes = judge(PEOPLE, outcome, ambiguous=False)
    meant = {
        "outcome": type(outcome).__name__,
        **{name: value for name, value in asdict(outcome).items() if name != "statuses"},
        "messageOutcomes": {
            message_outcome.message.message_id: {
                "disposition": message_outcome.disposition,
                "cause": message_outcome.cause,
                "status": message_outcome.status
                and message_outcome.status.model_dump(by_alias=True, exclude_none=True),
            }
            for message_outcome in message_outcomes
        },
    }
    assert pretty(meant) == (folder / "outcome.json").read_text(encoding="utf-8")


def test_there_is_something_to_compare() -> None:
    assert len(REQUESTS) >= 7
    assert len(ANSWERS) >= 10
