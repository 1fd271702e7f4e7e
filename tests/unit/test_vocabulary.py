"""One word for one thing: the words of the field, in identifiers, docstrings, comments and texts."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]


WORDS: Final = {
    "appetite": "allowed prefetch",
    "buried|bury": "dead-letter",
    "coalesced?|coalescing": "batch, batched",
    "coins?|dice|luck": "random number, jitter",
    "couriers?": "webhook push",
    "custody": "session",
    "doubts?|doubtful": "ambiguous (attempt)",
    "epitaphs?": "dead-letter headers",
    "errands?": "job",
    "glances?": "best-effort lookup",
    "guardians?": "reaper",
    "(?:hand|hands|handed|handing) back": "return, returned",
    "hazards?|mishaps?": "fault injector, fault response",
    "heeds?": "respects",
    "journeys?": "simulation",
    "(?:last|final) words?": "final event",
    "obituar(?:y|ies)": "final event of a dead letter",
    "parked letters?": "retry message, dead letter",
    "patience": "timeout, or the duration or deadline that it is",
    "playbooks?": "scenario",
    "(?:put|puts|putting) aside": "scheduled for retry",
    "tellers?": "telemetry",
    "tells?|told": "returns, reports",
    "throttles?": "limiter",
    "turnstiles?": "circuit breaker",
    "undertakers?": "dead-letter listener",
    "verdicts?": "disposition",
    "waiting rooms?": "delay queue",
    "whoever": "the subject of the sentence",
}
"""Whole words of the past, and the word to use instead."""

_OLD: Final = re.compile(rf"\b(?:{'|'.join(f'({word})' for word in WORDS)})\b", re.IGNORECASE)
_BETWEEN: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_-]")
"""Between two words of an identifier."""


def old_words(text: str) -> Iterator[tuple[int, str, str]]:
    """Find old words. Yields the line, the word, and the one to use."""
    instead = tuple(WORDS.values())
    for number, line in enumerate(text.splitlines(), 1):
        for found in _OLD.finditer(_BETWEEN.sub(" ", line)):
            yield number, found[0], instead[(found.lastindex or 1) - 1]


def texts() -> Iterator[Path]:
    """Yield the files that people read. The change log names the old words, and examples have their own languages."""
    yield from (ROOT / "service").rglob("*.py")
    yield from (
        ROOT / name
        for name in ("README.md", "service/README.md", "tests/README.md", "Dockerfile", "docker-compose.yml")
    )
    for path in (ROOT / "deploy").rglob("*"):
        if path.suffix in {".md", ".json", ".yml", ".yaml", ".example", ""} and path.is_file():
            yield path


def test_code_and_documents_have_none_of_the_old_words() -> None:
    files = sorted(texts())
    assert len(files) > 300

    assert [
        f"{path.relative_to(ROOT)}:{line}: {word}: write {instead}"
        for path in files
        for line, word, instead in old_words(path.read_text(encoding="utf-8"))
    ] == []


@pytest.mark.parametrize(
    "text",
    [
        "class Undertaker:",
        "class ClosingUndertaker:",
        "_put_aside(request)",
        "# whoever reads it",
        '"""Tell what is known."""',
        "x = is_doubtful",
        "handed back",
    ],
)
def test_an_old_word_is_found_in_each_kind_of_text(text: str) -> None:
    assert [line for line, *_ in old_words(f"\n{text}")] == [2]


@pytest.mark.parametrize("text", ["throttled by OMNI", "intelligible", "input asides", "storytelling", "coincidence"])
def test_a_part_of_another_word_is_none(text: str) -> None:
    assert list(old_words(text)) == []
