"""The entry point: each command is the object `command` of the module with its name.

A module is imported when its command runs: some take a second, and `--help` must not wait for all.
"""

import logging
import os
import sys
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType
from typing import Final

import click
from click.shell_completion import CompletionItem

from service import COMPILED, __version__
from service.adapters.output import make_output_total
from service.adapters.rabbitmq import AccessRefusedError, BrokerErrors, RightMissingError, TopologyError
from service.adapters.settings import SettingsError
from service.cli.options import FAULT, broker_fault, reads_settings, say

COMMANDS: Final = MappingProxyType(
    {
        "cancel": "Cancel messages that are not posted yet.",
        "check": "Check configuration, brokers, topology, rights, OMNI credentials and the worker.",
        "completion": "Print the completion script of a shell.",
        "dead": "List, show, replay and purge the dead letters.",
        "demo": "Run the whole system on this machine with sample requests.",
        "explain": "Show how a request would be processed; nothing is sent.",
        "find": "Show what is known about a request or message.",
        "reports": "Receive OMNI's delivery reports and publish them as events.",
        "sandbox": "Simulate the OMNI HTTP API, for development and tests.",
        "schema": "Print the contract of requests and events: AsyncAPI or JSON Schema.",
        "send": "Publish send requests from JSON, XML or CSV files.",
        "status": "Show workers, queues, pauses, rates and dead letters.",
        "watch": "Follow status events until Ctrl-C.",
        "worker": "Take send requests from RabbitMQ until asked to stop.",
    }
)


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            if like := get_close_matches(cmd_name, COMMANDS, 1):
                ctx.fail(f"No such command {cmd_name!r}. Did you mean {like[0]!r}?")
            return None
        command: click.Command = import_module(f"service.cli.{cmd_name}").command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name without importing the commands."""
        found = [CompletionItem(name, help=COMMANDS[name]) for name in COMMANDS if name.startswith(incomplete)]
        return found or super().shell_complete(ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: omni-relay demo. Each command has an example of its own: omni-relay send --help",
)
@reads_settings
@click.version_option(f"{__version__} ({'compiled' if COMPILED else 'interpreted'})", prog_name="omni-relay")
def commands() -> None:
    """Send requests from RabbitMQ to OMNI, status events back. Settings: environment variables RELAY_…."""


def main() -> None:
    """Run a command. Exit status: 0 stopped on request, 1 fault, 2 wrong usage, 78 wrong configuration."""
    make_output_total()
    for library in ("aiormq", "aio_pika"):  # their warnings would go to standard error, beside what the command says
        logging.getLogger(library).addHandler(logging.NullHandler())
    try:
        commands(prog_name="omni-relay")
    except SettingsError as error:
        say(str(error))
        sys.exit(os.EX_CONFIG)
    except (RightMissingError, AccessRefusedError) as error:
        say(str(error))
        sys.exit(FAULT)
    except TopologyError as error:
        say(f"TopologyError: {error}")
        sys.exit(FAULT)
    except BrokerErrors as error:
        say(f"{type(error).__name__}: {broker_fault(error)}. `omni-relay check` looks at all settings")
        sys.exit(FAULT)
