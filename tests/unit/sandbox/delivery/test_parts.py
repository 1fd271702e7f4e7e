import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.omni.channel import sms_parts
from service.sandbox.delivery.parts import EXTENSION, GSM, parts_of

TEXTS = st.text(st.sampled_from("a€\U0001f642ş\n{ñ") | st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize(
    ("text", "encoding", "units"),
    [
        ("", "GSM-7", [0]),
        ("a" * 160, "GSM-7", [160]),
        ("a" * 161, "GSM-7", [153, 8]),
        ("€" * 80, "GSM-7", [160]),
        ("a" * 152 + "€" * 5, "GSM-7", [152, 10]),
        ("ş" * 70, "UCS-2", [70]),
        ("ş" * 71, "UCS-2", [67, 4]),
        ("ş" * 66 + "\U0001f642" * 3, "UCS-2", [66, 6]),
    ],
)
def test_no_part_is_longer_than_its_room_and_no_character_is_divided(
    text: str, encoding: str, units: list[int]
) -> None:
    parts = parts_of(text)

    assert (parts.encoding, list(parts.units)) == (encoding, units)
    assert max(units) <= parts.room
    assert "".join(parts.texts) == text


@given(TEXTS, st.integers(1, 8))
def test_the_relay_divides_a_text_in_the_same_way(text: str, times: int) -> None:
    theirs, ours = parts_of(text * times), sms_parts.split(text * times)

    assert theirs.encoding == {"gsm7": "GSM-7", "ucs2": "UCS-2"}[ours.encoding]
    assert (tuple(theirs.texts), tuple(theirs.units)) == (ours.texts, ours.units)


def test_the_alphabets_are_those_of_the_relay() -> None:
    assert (GSM, EXTENSION) == (sms_parts.GSM, sms_parts.EXTENSION)
