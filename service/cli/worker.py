"""`omni-relay worker`: the service."""

import asyncio
import sys

import click

from service.adapters.logging import configure_logs
from service.cli.options import env_file, reads_settings, settings, source


@click.command("worker", epilog="Example: omni-relay worker --processes 2")
@reads_settings
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Workers on this machine.")
@click.option("--number", type=int, hidden=True, help="Which of several this is.")
@click.option("--listener", type=int, hidden=True, help="Descriptor of the operations port's socket.")
def command(processes: int, number: int | None, listener: int | None) -> None:
    """Take send requests from RabbitMQ until asked to stop."""
    found = settings()
    configure_logs(found.log_format, found.log_level, found.log_lines_per_second, process=number)
    if processes > 1:
        from service.worker.supervisor import supervise  # noqa: PLC0415 - a supervisor needs no worker, and the reverse

        sys.exit(asyncio.run(supervise(found, processes, env_file())))
    from service.worker.app import work  # noqa: PLC0415 - the same

    asyncio.run(work(found, source(), listener))
