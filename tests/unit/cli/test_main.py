import pytest
from click.testing import CliRunner

from service.cli.main import COMMANDS, commands


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_that_the_help_lists_can_be_loaded_and_has_a_help_text(name: str) -> None:
    answer = CliRunner().invoke(commands, [name, "--help"])

    assert answer.exit_code == 0
    assert f"omni-relay {name}" in answer.output or f"commands {name}" in answer.output
    assert name in CliRunner().invoke(commands, ["--help"]).output


def test_an_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(commands, ["options"]).exit_code == 2


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
def test_a_wrong_option_value_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(commands, ["dead", *arguments]).exit_code == 2


def test_purge_deletes_nothing_without_confirmation() -> None:
    answer = CliRunner().invoke(commands, ["dead", "purge"], input="n\n")

    assert answer.exit_code == 1
    assert "for good?" in answer.output
