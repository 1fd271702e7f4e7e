"""`omni-relay demo`: the whole system on this machine."""

import asyncio
import os
import sys

import click

from service.cli.options import env_file, reads_settings, settings
from service.demo.run import show


@click.command("demo", epilog="Example: omni-relay demo --keep")
@reads_settings
@click.option("--keep", is_flag=True, help="Leave it running until Ctrl-C.")
def command(keep: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Run the whole system on this machine and show what happens to sample requests."""
    is_configured = os.environ.get("RELAY_RABBITMQ_URL") or env_file()
    try:
        sys.exit(asyncio.run(show(settings() if is_configured else None, keep=keep)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("stopped everything that was started")
