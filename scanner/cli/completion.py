"""`ebyd-scan completion`: click's own script that completes commands, options and values in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

PROGRAM = "ebyd-scan"
VARIABLE = "_EBYD_SCAN_COMPLETE"  # click derives it from the program's name


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that makes SHELL complete commands, options and values.

    bash has to be 4.4 or newer.

    \b
    Examples:
      eval "$(ebyd-scan completion bash)"      # in ~/.bashrc
      eval "$(ebyd-scan completion zsh)"       # in ~/.zshrc, after compinit
      ebyd-scan completion fish > ~/.config/fish/completions/ebyd-scan.fish
    """
    found = get_completion_class(shell)
    assert found is not None  # click knows all three
    group = click.get_current_context().find_root().command
    click.echo(found(group, {}, PROGRAM, VARIABLE).source())
