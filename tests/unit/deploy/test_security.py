"""The threat model names what there is, and no document claims more than holds."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
MODEL: Final = ROOT / ".github/SECURITY.md"


def test_the_threat_model_names_each_trusted_party() -> None:
    text = MODEL.read_text()
    rows = re.findall(r"^\| \*\*(.+?)\*\*", text, re.MULTILINE)
    for who in ("operators", "the broker", "OMNI", "producers", "consumers of events", "the network"):
        assert who in rows
    assert "Report a vulnerability" in text


def test_each_measure_that_it_names_exists() -> None:
    named = re.findall(r"`((?:tests|deploy)/[^`]+)`", MODEL.read_text())
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_documents_do_not_claim_that_producers_fields_are_free_of_personal_data() -> None:
    """Ids are logged; retries and dead letters keep headers, ids and `tracestate`."""
    for path in (ROOT / "README.md", *(ROOT / "deploy").rglob("*.md")):
        assert not re.search(r"(?i)no phone\s+number[^.]*\bever in\b", path.read_text())
    text = (ROOT / "deploy/personal-data.md").read_text()
    (paragraph,) = re.findall(r"\* \*\*Producers' own words.*?(?=\n\* \*\*)", text, re.DOTALL)
    assert all(
        word in paragraph for word in ("request ids", "`tracestate`", "own headers", "`correlation_id`", "dead letters")
    )
