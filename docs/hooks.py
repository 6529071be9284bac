"""Pages that are made from the package itself: every command and option from its parser, every error by its class."""

import argparse
import importlib
import inspect
import re

from embedx import cli, errors
from embedx.encoders.short_names import KNOWN, TASKS


def on_page_markdown(markdown, **_):
    """Replace ``<!-- commands -->``, ``<!-- errors -->`` and the tables of encoders by what the package says."""
    markdown = markdown.replace("<!-- encoders -->", encoder_table()).replace("<!-- scores -->", score_table())
    markdown = markdown.replace("<!-- commands -->", "\n\n".join(map(command_section, cli.COMMANDS)))
    return markdown.replace("<!-- errors -->", error_table())


def command_section(name):
    """Return one command as Markdown: what it does, and its arguments by group."""
    parser = argparse.ArgumentParser(prog=f"embedx {name}", add_help=False)
    importlib.import_module(f"embedx.cli.{name}").add_arguments(parser)
    lines = [f"## embedx {name} {{ #{name} }}", f"{cli.COMMANDS[name].capitalize()}."]
    for group in parser._action_groups:
        shown = [action for action in group._group_actions if action.help is not argparse.SUPPRESS]
        if shown:
            lines += [f"**{group.title}**", "| | |\n| --- | --- |\n" + "\n".join(map(argument_row, shown))]
    return "\n\n".join(lines)


def argument_row(action):
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    choices = f" `{{{','.join(map(str, action.choices))}}}`" if action.choices else ""
    value = f" `{' '.join(value) if isinstance(value, tuple) else value}`" if value and not choices else choices
    text = (action.help or "") % {**vars(action), "prog": "embedx"}
    return f"| {names}{value} | {escape(text)} |"


def error_table():
    """Return every public error and warning with its first sentence."""
    rows = ["| class | is a | when |", "| --- | --- | --- |"]
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if kind.__module__ == errors.__name__ and issubclass(kind, (Exception, KeyboardInterrupt)):
            parents = ", ".join(f"`{one.__name__}`" for one in kind.__bases__)
            rows.append(f"| `{name}` | {parents} | {escape((inspect.getdoc(kind) or '').splitlines()[0])} |")
    return "\n".join(rows)


def encoder_table():
    """Return the encoders that have a short name, and what is known of each before a download."""
    rows = ["| name | hub id | layers x dim | kHz | window | parameters | licence |", "|---|---|---|---|---|---|---|"]
    for name, known in KNOWN.items():
        window = "any" if known.native_seconds is None else f"{known.native_seconds:g} s"
        rows.append(
            f"| `{name}` | `{known.repo}` | {known.n_layers} x {known.dim} | {known.sample_rate // 1000} | {window} | "
            f"{known.n_parameters / 1e6:.0f} M | {known.licence} |"
        )
    return "\n".join(rows)


def score_table():
    """Return the published scores of those that have any."""
    rows = [f"| name | {' | '.join(TASKS)} | trained on |", "|---|" + "---|" * (len(TASKS) + 1)]
    for name, known in KNOWN.items():
        if known.scores:
            cells = " | ".join(str(known.scores[task]) for task in TASKS)
            rows.append(f"| `{name}` | {cells} | {known.sounds} |")
    return "\n".join(rows)


def escape(text):
    return re.sub(r"([|<>*_])", r"\\\1", text)
