import pytest
from click.testing import CliRunner

from service.cli.cancel import describe
from service.cli.main import commands
from service.core.attempt.cancellation import Change


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--undo",),
        ("--request-id", ""),
        ("--request-id", "x" * 201),
        ("--request-id", "ü" * 200),
        ("--message-id", "x" * 201),
        ("--message-id", "\udcff"),
        ("--bulk-id", ""),
        ("--bulk-id", "x" * 5001),
        ("--metadata", "tenant"),
        ("--metadata", "tenant=" + "x" * 5000),
        ("--request-id", "a", "--for", "0s"),
        ("--request-id", "a", "--for", "367d"),
        ("--request-id", "a", "--for", "a day"),
        tuple(word for number in range(10_001) for word in ("--request-id", str(number))),
        tuple(word for number in range(14) for word in ("--metadata", f"{number}=x")),
        tuple(word for number in range(101) for word in ("--request-id", str(number), "--message-id", str(number))),
    ],
)
def test_conditions_that_nothing_can_meet_or_that_are_too_many_are_a_usage_error(arguments: tuple[str, ...]) -> None:
    answer = CliRunner().invoke(commands, ["cancel", *arguments])
    assert answer.exit_code == 2
    assert not isinstance(answer.exception, Exception)


@pytest.mark.parametrize(
    ("changed", "in_force", "undo", "text"),
    [
        (1, 1, False, "given: 1; 1 order is in force. Workers apply it within two seconds"),
        (2, 3000, False, "given: 2; 3,000 orders are in force. Workers apply it within two seconds"),
        (2, 0, True, "undone: 2; 0 orders are in force"),
        (0, 1, True, "no such order was in force; 1 order is in force"),
    ],
)
def test_the_command_says_how_many_orders_are_in_force(changed: int, in_force: int, undo: bool, text: str) -> None:  # noqa: FBT001 - a parameter
    assert describe(Change({}, changed, in_force, 1.0), undo=undo) == text
