import pytest

from service.core.request.rejection import slices

PLAIN = {"to": {"phoneNumber": "41793026727", "emailAddress": "email@example.com"}}
UNUSUAL = [{"to": {"emailAddress": "j\u00f6rg@example.com"}}, {"to": {"phoneNumber": "+44 (0)20 7946 0958"}}]


@pytest.mark.parametrize(
    ("entries", "steps"),
    [
        ([], []),
        ([PLAIN], [(0, 1)]),
        ([PLAIN] * 50, [(0, 50)]),
        ([PLAIN] * 101, [(0, 50), (50, 100), (100, 101)]),
        ([None, {}, {"to": None}, {"to": {"phoneNumber": 5, "emailAddress": []}}] * 15, [(0, 50), (50, 60)]),
        (UNUSUAL * 5, [(0, 5), (5, 10)]),
        ([*[PLAIN] * 40, *UNUSUAL, PLAIN], [(0, 41), (41, 43)]),
    ],
)
def test_a_step_holds_fewer_destinations_the_more_of_their_addresses_are_unusual(
    entries: list[object], steps: list[tuple[int, int]]
) -> None:
    assert list(slices(entries)) == steps
