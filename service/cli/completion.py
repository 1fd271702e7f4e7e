"""`omni-relay completion`: prints the script by which a shell completes commands, options and values."""

from typing import Final

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

_SHELLS: Final[dict[str, type[ShellComplete]]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
_VARIABLE: Final = "_OMNI_RELAY_COMPLETE"
"""By which click knows that a shell asks."""


@click.command("completion", epilog="Example: omni-relay completion zsh")
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    r"""Print the completion script of SHELL, for the command omni-relay on the PATH.

    \b
    bash  omni-relay completion bash > ~/.local/share/bash-completion/completions/omni-relay
    zsh   omni-relay completion zsh > "${fpath[1]}/_omni-relay"
    fish  omni-relay completion fish > ~/.config/fish/completions/omni-relay.fish
    """
    completion = _SHELLS[shell](ctx.find_root().command, {}, "omni-relay", _VARIABLE)
    click.echo(completion.source_template % completion.source_vars())
