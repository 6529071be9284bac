"""``embedx completion``: what makes a shell complete commands, options and their values."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from embedx.cli.terminal import show

__all__ = ["add_arguments", "complete", "run"]

_HOW = {
    "bash": 'eval "$(embedx completion bash)", in ~/.bashrc for good',
    "zsh": 'eval "$(embedx completion zsh)", in ~/.zshrc after compinit for good',
    "fish": "embedx completion fish > ~/.config/fish/completions/embedx.fish",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("shell", choices=tuple(_HOW), help="which one: " + "; ".join(_HOW.values()))


def run(args: argparse.Namespace) -> int:
    """Print the shell's words."""
    import argcomplete

    for line in argcomplete.shellcode(["embedx"], shell=args.shell).splitlines():
        show(line)
    return 0


def complete(commands: Mapping[str, str]) -> None:
    """Answer a shell that asks what may follow, and end the process; return where none asks."""
    import argcomplete

    from embedx.cli.parser import build_parser

    parser = argparse.ArgumentParser(prog="embedx")
    below = parser.add_subparsers()
    for name, text in commands.items():
        below.add_parser(name, parents=[build_parser(name, text)[1]], add_help=False)
    below.add_parser("help").add_argument("command", choices=tuple(commands))
    argcomplete.autocomplete(parser)
