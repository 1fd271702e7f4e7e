"""`omni-relay reports`: the receiver of OMNI's delivery and seen reports."""

import asyncio

import click

from service.adapters.logging import configure_logs
from service.cli.options import reads_settings, settings, source
from service.receiver.app import BrokerTokens, receive_reports
from service.worker.broker_tokens import broker_tokens, token_server


@click.command("reports", epilog="Example: omni-relay reports")
@reads_settings
def command() -> None:
    """Receive the delivery and seen reports that OMNI pushes, until asked to stop; each becomes a status event.

    It needs RELAY_REPORTS_TOKEN and RELAY_RABBITMQ_URL, and no credentials of OMNI's.
    """
    found, files = settings(), source()
    configure_logs(found.log_format, found.log_level, found.log_lines_per_second)
    asyncio.run(receive_reports(found, files, BrokerTokens(broker_tokens, token_server)))
