"""`omni-relay sandbox`: the OMNI sandbox alone. A unit test compares the lists in its help with the code."""

import click

from service.sandbox import run

# Where the text has a backspace character, click does not wrap the paragraph that follows.
SANDBOX_HELP = """Simulate the OMNI HTTP API, for development and tests. Details: deploy/sandbox.md.

Its address in a browser shows each message on the phone that received it.

\b
The last five digits of a phone number request a fault:
  90ccc    the first time for a message id; 91ccc: always
  000      no response until the caller disconnects
  001-100  HTTP 200 in which this destination has the status of that id
  104      the connection is reset
  200      HTTP 200 with an unreadable body
  400-599  that HTTP status
  92s00    step s of the scenario delivers (0: none); 92s01: and is read

\b
Control endpoints, without a credential, in JSON:
  GET DELETE       /sandbox/messages
  GET              /sandbox/calls
  GET              /sandbox/stats
  GET              /sandbox/pushes
  GET POST DELETE  /sandbox/faults
    kinds: latency status reset hang garbage empty html refuse
  GET POST         /sandbox/clock    {"speed": 60, "advance": 3600}
  GET POST         /sandbox/options
  GET              /sandbox/inbox    messages for the page at /
  GET              /sandbox/message
  GET              /sandbox/call
  GET              /sandbox/changes
  POST             /sandbox/outcome  {"messageId": "m-1", "outcome": "seen"}
"""


@click.command("sandbox", help=SANDBOX_HELP, epilog="Example: omni-relay sandbox --port 8080 --api-key test")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True, help="0 picks a free one.")
@click.option("--api-key", help="Accept this key alone.")
@click.option("--seed", type=int, help="Make faults with a probability repeatable.")
@click.option(
    "--allow-host", "hosts", multiple=True, metavar="NAME", help="A name by which it is reached. May be repeated."
)
@click.option("--push-anywhere", is_flag=True, help="Push reports to any notifyUrl, and not to this machine alone.")
def command(  # noqa: PLR0913, PLR0917 - click passes them by name
    host: str,
    port: int,
    api_key: str | None,
    seed: int | None,
    hosts: tuple[str, ...],
    push_anywhere: bool,  # noqa: FBT001 - the same
) -> None:
    """Serve until SIGINT or SIGTERM."""
    run(host, port, api_key, seed, hosts, push_anywhere=push_anywhere)
