import pytest
from click.testing import CliRunner

from service.cli.main import commands


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--reason", "x"),
        ("list", "--older-than", "5"),
        ("list", "--newer-than", "-1s"),
        ("show", "--older-than", "1w"),
        ("replay", "--limit", "0"),
        ("replay", "--rate", "0"),
        ("purge", "--older-than", "99999999999999d"),
    ],
)
def test_a_slip_in_the_options_is_a_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(commands, ["dead", *arguments]).exit_code == 2


def test_nothing_is_dropped_where_nobody_says_yes() -> None:
    answer = CliRunner().invoke(commands, ["dead", "purge"], input="n\n")

    assert answer.exit_code == 1
    assert "for good?" in answer.output
