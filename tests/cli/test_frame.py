"""The frame of the command line: overview, version, unknown words, what an error looks like."""

import io

import pytest

from embedx import __version__
from embedx.cli import COMMANDS, main
from embedx.cli.progress import ProgressBar


def test_the_overview_lists_every_command(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


def test_no_command_is_a_usage_error(capsys):
    assert main([]) == 2
    assert "usage: embedx COMMAND" in capsys.readouterr().out


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"embedx {__version__}\n"


def test_an_unknown_command_names_the_nearest(capsys):
    assert main(["extrct"]) == 2
    assert "unknown command 'extrct': did you mean 'extract'?" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert f"usage: embedx {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_is_one_line(command, capsys):
    assert main([command, "--no-such-option"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"see embedx {command} --help" in error


def test_python_m_embedx_is_the_command(run_embedx):
    done = run_embedx("--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"embedx {__version__}")


class _Full(io.StringIO):
    """A stream on a full disk, or one whose reader is gone."""

    def __init__(self, error, terminal):
        super().__init__()
        self.error, self.terminal, self.n_writes = error, terminal, 0

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.n_writes += 1
        raise self.error


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), BrokenPipeError(), ValueError("closed")])
def test_progress_that_cannot_be_shown_does_not_stop_the_work(error, terminal):
    stream = _Full(error, terminal)
    with ProgressBar("extract", unit="clips", stream=stream, every_seconds=0.0) as bar:
        bar(1, 2)
        bar(2, 2)
    assert stream.n_writes


def test_a_process_without_stderr_has_no_progress(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    with ProgressBar("extract", unit="clips") as bar:
        bar(1, 1)
