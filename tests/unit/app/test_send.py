import pytest

from service.app.send import read_requests


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
    """Whether it is a good request is for the worker to say."""
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
        ('\n{"a": 1}\n\n{"b"}', r"^orders\.json, line 4: is neither JSON nor JSON Lines"),
    ],
)
def test_what_is_neither_is_told_by_its_place(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_requests("orders.json", text)
