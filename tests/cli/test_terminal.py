"""What strangers wrote reaches the terminal readable and powerless; Ctrl-C promises what is true and no more."""

import ast
import io
import json
from pathlib import Path

import pytest

from embedx import cli
from embedx.cli import parser
from embedx.cli.terminal import interrupted_means, show
from embedx.errors import EmbedxError, Interrupted
from embedx.text import count, printable

HOSTILE = [
    "\x1b]0;owned\a",
    "\x1b[2J",
    "\x9b31m",
    "\r\n",
    "\u202e",
    "\u2066",
    "\u200f",
    "\x7f",
    "\0",
    "\udcff",
    "\U000e0041",
]


@pytest.mark.parametrize("mark", HOSTILE)
def test_marks_that_a_terminal_obeys_are_escaped_as_json_escapes_them(mark):
    shown = printable(f"a{mark}b")
    assert shown.isascii()
    assert shown.isprintable()
    assert json.loads(f'"{shown}"') == f"a{mark}b"


@pytest.mark.parametrize(
    "text", ["", "plain name.wav", "café 犬 собака", "cafe\u0301", "no\u00a0break", "全角\u3000", "🐕"]
)
def test_what_can_be_read_stays(text):
    assert printable(text) == text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_no_stream_is_asked_for_a_character_that_it_has_not(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    show("é 犬 \x1b[31m\udcff\n", 7, file=stream, flush=True)
    written = stream.buffer.getvalue()
    assert b"\x1b" not in written
    assert written.count(b"\n") == 1
    assert json.loads(f'"{written.decode(encoding)[:-1]}"') == "é 犬 \x1b[31m\udcff\n 7"


def test_columns_stay_apart(capsys):
    show("a\tb")
    assert capsys.readouterr().out == "a\tb\n"


def test_a_process_without_a_stream_shows_nothing(monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    show("anything")


@pytest.mark.parametrize(("n", "text"), [(0, "0 clips"), (1, "1 clip"), (2000, "2,000 clips")])
def test_one_is_no_plural(n, text):
    assert count(n, "clip") == text


class _Command:
    """A command that is interrupted."""

    COMMANDS = cli.COMMANDS

    def __init__(self, error):
        self.error = error

    def add_arguments(self, parser):
        pass

    def run(self, args):
        raise self.error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyboardInterrupt(), "embedx: interrupted\n"),
        (Interrupted("3 of 20 fits are kept"), "embedx: interrupted; 3 of 20 fits are kept\n"),
    ],
)
def test_an_interrupt_promises_nothing_but_what_the_command_says(monkeypatch, capsys, error, line):
    monkeypatch.setattr(parser.importlib, "import_module", lambda name: _Command(error))
    assert cli.main(["info"]) == 130
    assert capsys.readouterr().err == line


def test_the_innermost_truth_is_told():
    with pytest.raises(Interrupted, match="inner"), interrupted_means("outer"), interrupted_means("inner"):
        raise KeyboardInterrupt


def test_whoever_catches_errors_does_not_catch_an_interrupt():
    assert not issubclass(Interrupted, Exception)
    assert not issubclass(Interrupted, EmbedxError)


@pytest.mark.parametrize("path", sorted(Path(cli.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_everything_is_printed_through_one_door(path):
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert "print" not in {call.id for call in calls if isinstance(call, ast.Name)}
    assert "traceback.print_exc" not in {ast.unparse(call) for call in calls if isinstance(call, ast.Attribute)}
