from pathlib import Path

import pytest

from service.cli.send import read_requests, read_texts


@pytest.mark.parametrize(
    ("text", "requests"),
    [
        ('{"a": 1}', [{"a": 1}]),
        ('{\n  "a": 1\n}\n', [{"a": 1}]),
        ('[{"a": 1}, {"b": 2}]', [{"a": 1}, {"b": 2}]),
        ("[]", []),
        ('{"a": 1}\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        ('\n{"a": 1}\r\n\n  {"b": 2}\n\n', [{"a": 1}, {"b": 2}]),
        ('{"text": "Grüezi ☎"}', [{"text": "Grüezi ☎"}]),
        ('{"text": "a\u2028b"}\n{"text": "c\u0085d"}', [{"text": "a\u2028b"}, {"text": "c\u0085d"}]),
        ("5", [5]),
        ('"text"', ["text"]),
    ],
)
def test_a_text_is_a_request_or_a_list_or_a_request_a_line(text: str, requests: list[object]) -> None:
    """The worker checks the requests, not this command."""
    assert read_requests("file", text) == requests


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"^orders\.json: is empty$"),
        (" \n\t\n", r"^orders\.json: is empty$"),
        ("nonsense", r"^orders\.json: Expecting value: line 1 column 1"),
        ('{"a": 1', r"^orders\.json: Expecting"),
        ('{"a": 1}\n{"b": \n', r"^orders\.json, line 2: is neither JSON nor JSON Lines: Expecting value"),
        ("[" * 200_000, r"^orders\.json: is nested too deeply$"),
        ("5\n" + "[" * 200_000, r"^orders\.json, line 2: is neither JSON nor JSON Lines: is nested too deeply$"),
        ('{"a": 1,\n "a": 2}', r'^orders\.json: "a" is given twice$'),
        (r'[{"b": {"\u001b": 1, "\u001b": 2}}]', r'^orders\.json: "\\u001b" is given twice$'),
        ('\n{"a": 1}\n\n{"b"}', r"^orders\.json, line 4: is neither JSON nor JSON Lines"),
    ],
)
def test_text_that_is_neither_is_reported_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_requests("orders.json", text)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_is_read_in_the_encodings_that_shells_write(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "orders.json"
    file.write_text('{"text": "Grüezi"}', encoding=encoding)

    assert list(read_texts((file,))) == [(str(file), '{"text": "Grüezi"}')]


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    file = tmp_path / "orders.json"
    file.write_text('{"text": "Grüezi"}', encoding="latin-1")

    with pytest.raises(ValueError, match=r"orders\.json: is not in UTF-8"):
        list(read_texts((file,)))
