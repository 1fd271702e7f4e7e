"""`omni-relay schema`: prints the contract as a file, for tools and for teams in other languages."""

import json
from collections.abc import Callable
from typing import Final, Literal, get_args

import click

from service import __version__
from service.core.request.json_schema import request_document
from service.core.result.asyncapi import document
from service.core.result.json_schema import event_document

Format = Literal["asyncapi", "request", "event"]

_DOCUMENTS: Final[dict[Format, Callable[[], object]]] = {
    "asyncapi": lambda: document(__version__),
    "request": request_document,
    "event": event_document,
}


def contract(format_: Format) -> str:
    """Return the document as it is in `deploy/contract`. Texts in ASCII, so that no encoding changes it."""
    return json.dumps(_DOCUMENTS[format_](), indent=2) + "\n"


@click.command("schema", epilog="Example: omni-relay schema --format request > send-request.schema.json")
@click.option(
    "--format", "format_", type=click.Choice(get_args(Format)), default="asyncapi", show_default=True, help="The file."
)
def command(format_: Format) -> None:
    r"""Print the contract of requests and events.

    \b
    asyncapi  AsyncAPI 3: exchanges, routing keys, messages and schemas
    request   JSON Schema 2020-12 of a send request
    event     JSON Schema 2020-12 of a status event
    """
    click.echo(contract(format_), nl=False)
