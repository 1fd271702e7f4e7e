import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete
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


def every_command() -> Iterator[tuple[str, click.Command]]:
    """Yield each command by its name, those of a group too."""
    for name in COMMANDS:
        command = commands.get_command(click.Context(commands), name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", one) for inner, one in command.commands.items())


@pytest.mark.parametrize(
    ("name", "command"), list(every_command()), ids=lambda one: one if isinstance(one, str) else ""
)
def test_each_help_has_an_example_that_is_understood(name: str, command: click.Command, tmp_path: Path) -> None:
    found = re.fullmatch(rf"Example: omni-relay ({name}\b[^>]*).*", command.epilog or "")

    assert found is not None
    arguments = found[1].split()[len(name.split()) :]
    if isinstance(command, click.Group):
        inner = command.commands[arguments.pop(0)]
        command = inner
    with contextlib.chdir(tmp_path):
        for argument in arguments:
            if "." in argument:
                Path(argument).touch()  # a file that the reader has
        command.make_context(name, arguments)


@pytest.mark.parametrize(("name", "meant"), [("snd", "send"), ("Status", "status"), ("sandbx", "sandbox")])
def test_a_misspelt_command_is_named_with_the_one_that_is_like_it(name: str, meant: str) -> None:
    answer = CliRunner().invoke(commands, [name])

    assert answer.exit_code == 2
    assert f"Did you mean '{meant}'?" in answer.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_a_script_that_it_reads(shell: str) -> None:
    answer = CliRunner().invoke(commands, ["completion", shell])

    assert answer.exit_code == 0
    assert "_OMNI_RELAY_COMPLETE" in answer.output
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=answer.output.encode(), check=True)


@pytest.mark.parametrize(
    ("given", "incomplete", "completed"),
    [
        ([], "s", ["sandbox", "schema", "send", "status"]),
        ([], "", list(COMMANDS)),
        (["dead"], "re", ["replay"]),
        (["dead", "list"], "--rea", ["--reason"]),
        (["schema", "--format"], "", ["asyncapi", "request", "event"]),
    ],
)
def test_commands_options_and_values_are_completed(given: list[str], incomplete: str, completed: list[str]) -> None:
    shell = BashComplete(commands, {}, "omni-relay", "_OMNI_RELAY_COMPLETE")

    assert [item.value for item in shell.get_completions(given, incomplete)] == completed
