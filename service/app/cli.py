"""The command line."""

import click


@click.group()
def main() -> None:
    """OMNI Relay."""
