"""Parsers whose errors are one line that names the nearest word and the next step."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

from embedx.cli.terminal import show
from embedx.errors import unknown_name

__all__ = ["Parser", "add_renamed", "asks_for_help", "build_parser"]


_PARAMETER = re.compile(r"unknown (?P<name>\w+_\w+) (?=')|(?P<given>\w+)(=| is | (?='[^']*' is neither))")
"""How a refusal of a parameter begins: ``n_jobs=0:``, ``window_seconds is 0.0:``, ``unknown store_dtype 'int8'``."""


class Parser(argparse.ArgumentParser):
    """An argument parser that suggests, and that takes no part of an option's name for the whole."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)
        self.color = False  # Python 3.14 would write escape sequences

    def parse_words(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse; an unknown option is named before anything that is missing.

        Raises
        ------
        SystemExit
            With 2 after a line on standard error, with 0 after the help.
        """
        known = self._option_string_actions
        for word in words:
            if word == "--":
                break
            name = word.partition("=")[0]
            if name.startswith("--") and " " not in word and name not in known:
                self.error(
                    _unknown_option(name, [k for k, action in known.items() if action.help != argparse.SUPPRESS])
                )
        return self.parse_args(words)

    def with_options(self, message: str) -> str:
        """Return a refusal that begins with the Python name of a parameter with the name of the option instead.

        Examples
        --------
        >>> parser = Parser()
        >>> for option in ("--jobs", "--window-seconds", "--store-dtype"):
        ...     _ = parser.add_argument(option)
        >>> parser.with_options("n_jobs=0: a whole number of 1 or more is needed")
        '--jobs 0: a whole number of 1 or more is needed'
        >>> parser.with_options("window_seconds is 0.0: give seconds above 0")
        '--window-seconds 0.0: give seconds above 0'
        >>> parser.with_options("unknown store_dtype 'int8'. Known: float16, float32")
        "unknown --store-dtype 'int8'. Known: float16, float32"
        """
        found = _PARAMETER.match(message)
        if found is None:
            return message
        name = found["name"] or found["given"]
        options = (f"--{text.replace('_', '-')}" for text in (name, name.removeprefix("n_")))
        option = next((option for option in options if option in self._option_string_actions), None)
        if option is None:
            return message
        return f"{'unknown ' if found['name'] else ''}{option} {message[found.end() :]}"

    def error(self, message: str) -> NoReturn:
        show(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        self.exit(2)

    def _print_message(self, message: str, file: Any = None) -> None:
        for line in message.splitlines():
            show(line, file=file)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, unknown_name("value", str(value), map(str, action.choices)))


def _unknown_option(name: str, known: Sequence[str]) -> str:
    whole = sorted(option for option in known if option.startswith(name))
    if len(whole) == 1:
        return f"unknown option {name}: did you mean {whole[0]}?"
    nearest = unknown_name("option", name, [option for option in known if option.startswith("--")])
    hint = nearest.partition("did you mean ")[2].partition("? Known")[0].strip("'")
    return f"unknown option {name}" + (f": did you mean {hint}?" if hint else "")


class _Renamed(argparse.Action):
    """An option of an earlier version, which still works and says its new name."""

    def __init__(self, option_strings: Sequence[str], dest: str, new: str, **options: Any) -> None:
        super().__init__(option_strings, dest, help=argparse.SUPPRESS, default=argparse.SUPPRESS, **options)
        self.new = new

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        show(f"embedx: warning: {option_string} is now called {self.new}", file=sys.stderr)
        setattr(namespace, self.dest, values)


def add_renamed(group: Any, old: str, new: str, **options: Any) -> None:
    """Keep an option's old name working for one version, hidden from the help and with a warning.

    Parameters
    ----------
    group : argparse parser or group
        That has the new option already.
    old, new : str
        Both names.
    **options
        As of the new option: ``type``, ``nargs``, ``choices``.
    """
    group.add_argument(old, action=_Renamed, new=new, dest=new.lstrip("-").replace("-", "_"), **options)


def build_parser(command: str, description: str) -> tuple[ModuleType, Parser]:
    """Return a command's module and its parser, with the options that every command has."""
    module = importlib.import_module(f"embedx.cli.{command}")
    parser = Parser(prog=f"embedx {command}", description=description)
    module.add_arguments(parser)
    common = parser.add_argument_group("what is shown")
    common.add_argument("-q", "--quiet", action="store_true", help="show only the result and errors")
    common.add_argument("-v", "--verbose", action="store_true", help="show versions, cost, other libraries' warnings")
    common.add_argument("--log-file", metavar="FILE", help="append every line, with the time, to this file")
    common.add_argument("--debug", action="store_true", help="show the tracebacks of errors, in child processes too")
    return module, parser


def asks_for_help(words: Sequence[str]) -> bool:
    """Say whether ``embedx COMMAND help`` asks for the help, and names no file called so."""
    return list(words) == ["help"] and not os.path.exists("help")
