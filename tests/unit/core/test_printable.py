import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from service.core.printable import printable, printable_json
from tests.unit.strategy import law

OBEYED = [
    "\x1b",
    "\x07",
    "\x08",
    "\r",
    "\n",
    "\t",
    "\x7f",
    "\x9b",
    "\x9d",
    "\u202e",
    "\u2066",
    "\u200f",
    "\u2028",
    "\ufeff",
]


def test_characters_that_a_terminal_obeys_become_spaces() -> None:
    assert printable("".join(OBEYED)) == " " * len(OBEYED)
    assert printable("a\x1b[2Jb\u202ec") == "a [2Jb c"


def test_all_else_stays_as_it_is() -> None:
    for text in ("", "Grüße 😀 漢字 שלום [x] \\ %", "a  b"):
        assert printable(text) == printable_json(text) == text


@law
@given(st.text())
def test_no_character_that_a_terminal_may_obey_is_left(text: str) -> None:
    for shown in (printable(text), printable_json(text)):
        assert not [one for one in shown if unicodedata.category(one) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]


@law
@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
        max_leaves=12,
    )
)
def test_json_means_the_same(value: object) -> None:
    for text in (json.dumps(value, ensure_ascii=False, indent=2), json.dumps(value)):
        shown = printable_json(text)
        assert json.loads(shown) == value
        assert "\n" not in shown


def test_lines_between_the_values_of_json_become_spaces() -> None:
    assert printable_json('{\n\t"a": 1\r\n}') == '{  "a": 1  }'


def test_characters_beyond_the_basic_plane_are_written_as_two() -> None:
    assert printable_json('"\U000e0001\x7f"') == '"\\udb40\\udc01\\u007f"'
