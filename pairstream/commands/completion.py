"""`pairstream completion`."""

import click

from pairstream.settings_loader import check_variables

PROGRAM = "pairstream"
VARIABLE = "_PAIRSTREAM_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print what makes SHELL complete commands, flags and their values.

    \b
    Examples:
      pairstream completion bash > ~/.local/share/bash-completion/completions/pairstream
      pairstream completion zsh > "${fpath[1]}/_pairstream"
      pairstream completion fish > ~/.config/fish/completions/pairstream.fish
    """
    from click.shell_completion import get_completion_class

    from pairstream.__main__ import cli

    check_variables()
    found = get_completion_class(shell)
    assert found is not None, "click knows the three shells"
    click.echo(found(cli, {}, PROGRAM, VARIABLE).source())
