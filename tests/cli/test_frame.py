"""The frame of the command line: overview, version, unknown words, what an error looks like."""

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from embedx import __version__
from embedx.cli import COMMANDS, _show_warning, main
from embedx.cli.parser import build_parser
from embedx.cli.progress import ProgressBar
from embedx.cli.terminal import show, talking
from embedx.errors import EmbedxWarning


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


@pytest.mark.parametrize("words", [["help", "extract"], ["extract", "help"], ["extract", "--help"]])
def test_help_is_found_where_it_is_looked_for(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 0
    assert "usage: embedx extract" in capsys.readouterr().out


def test_help_on_an_unknown_command_names_the_nearest(capsys):
    assert main(["help", "extrat"]) == 2
    assert "did you mean 'extract'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["extract", "--encodr", "tiny"], "unknown option --encodr: did you mean --encoder?"),
        (["extract", "clips", "--encodr=tiny"], "unknown option --encodr: did you mean --encoder?"),
        (["extract", "clips", "-o", "e.h5", "--enc", "tiny"], "unknown option --enc: did you mean --encoder?"),
        (["merge", "a.h5", "--last-win"], "unknown option --last-win: did you mean --last-wins?"),
        (["tune", "e.h5", "--budget", "fst"], "argument --budget: unknown value 'fst': did you mean 'fast'?"),
        (["completion", "bsh"], "did you mean 'bash'?"),
    ],
)
def test_a_mistyped_word_gets_the_nearest(words, told, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_what_stands_after_two_dashes_is_no_option(capsys):
    assert main(["verify", "--", "--no-such.h5"]) == 2
    assert "--no-such.h5 does not exist" in capsys.readouterr().out


def test_a_log_file_has_every_line_with_its_time_and_is_appended(tmp_path, capsys):
    place = tmp_path / "run.log"
    for _ in range(2):
        assert main(["verify", str(tmp_path / "no\x1bne.h5"), "--log-file", str(place)]) == 2
    shown = capsys.readouterr().out
    lines = place.read_text().splitlines()
    assert len(lines) == 4
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d ", line) for line in lines)
    assert lines[0].endswith(f"--log-file {place}")
    assert lines[1].partition(" ")[2] in shown
    assert "\x1b" not in place.read_text()


def test_a_log_on_a_full_disk_stops_nothing(capsys):
    assert main(["info", "none.h5", "--log-file", "/dev/full"]) == 2
    assert "none.h5 does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("bad", ["folder", "pipe", "none/below"])
def test_a_log_file_that_cannot_be_opened_is_one_line(bad, tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert main(["info", "none.h5", "--log-file", str(tmp_path / bad)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--log-file" in error


@pytest.mark.parametrize("content", [b"path,label\na.wav,dog\n", b"RIFF\x00\x00", b"\x89HDF\r\n", b"2026\n"])
def test_a_file_of_another_kind_is_never_a_log(content, tmp_path, capsys):
    place = tmp_path / "clips.csv"
    place.write_bytes(content)
    assert main(["info", "none.h5", "--log-file", str(place)]) == 2
    assert "is a file of another kind" in capsys.readouterr().err
    assert place.read_bytes() == content


def test_quiet_leaves_the_result_and_errors(tmp_path, capsys):
    place = tmp_path / "run.log"
    with talking(quiet=True, verbose=False, log_file=str(place)):
        _show_warning("half of it", EmbedxWarning)
        _show_warning("of others", FutureWarning)
        with ProgressBar("extract", unit="clips", every_seconds=0.0) as bar:
            bar(1, 2)
        show("the result")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("the result\n", "")
    logged = [line.partition(" ")[2] for line in place.read_text().splitlines()]
    assert logged == ["embedx: warning: half of it", "extract: 1/2 clips", "the result"]


def test_verbose_says_versions_cost_and_the_warnings_of_others(capsys):
    assert main(["info", "none.h5", "--verbose"]) == 2
    error = capsys.readouterr().err
    assert f"embedx {__version__} on " in error
    assert re.search(r"info took [\d.]+ s and at most [\d,]+ MB", error)
    with talking(quiet=False, verbose=True, log_file=None):
        _show_warning("of others", FutureWarning)
    assert "FutureWarning: of others" in capsys.readouterr().err


def test_a_resumed_run_counts_from_what_is_done(monkeypatch):
    now = iter([0.0, 0.0, 0.0, 10.0, 20.0])
    monkeypatch.setattr("embedx.cli.progress.time.monotonic", lambda: next(now))
    stream = io.StringIO()
    with ProgressBar("extract", unit="clips", stream=stream, every_seconds=0.0) as bar:
        for done in (900, 920, 1000):
            bar(done, 1000)
    assert stream.getvalue().splitlines() == [
        "extract: 900/1000 clips",
        "extract: 920/1000 clips, 2.0 a second, 40 s left",
        "extract: 1000/1000 clips, 5.0 a second",
    ]


def ask_bash(line):
    """Let a real bash complete a line, as the Tab key does."""
    script = (
        f'eval "$({sys.executable} -m embedx completion bash)"; COMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}; '
        f"COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_TYPE=9; "
        '_python_argcomplete embedx; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
        env={**os.environ, "PATH": path},
    )
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "words"),
    [("embedx ver", ["verify"]), ("embedx extract --skip", ["--skip-missing"]), ("embedx tune --budget fa", ["fast"])],
)
def test_bash_completes_commands_options_and_values(line, words):
    assert ask_bash(line) == words


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_words(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "embedx" in capsys.readouterr().out


def test_an_option_that_was_renamed_still_works_and_says_its_new_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["download", "none.csv", "out", "--pause", "9-3"]) == 2
    assert "argument --pause: 9-3: the first number" in capsys.readouterr().err
    assert main(["download", "none.csv", "out", "--pause", "1-2", "--max-duration", "60"]) == 2
    warned, renamed, failed = capsys.readouterr().err.splitlines()
    assert warned == "embedx: warning: --pause is now called --pause-seconds"
    assert renamed == "embedx: warning: --max-duration is now called --max-duration-seconds"
    assert "none.csv" in failed
    assert main(["download", "--help"]) == 0
    assert "--pause " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "given", "old", "new", "value"),
    [
        *(("extract", ["clips"], old, f"{old}-seconds", "5") for old in ("--window", "--hop", "--min-tail")),
        *(("extract", ["clips"], old, f"{old}-seconds", "5") for old in ("--silence-timeout", "--unit-timeout")),
        ("extract", ["clips"], "--dtype", "--compute-dtype", "float32"),
        ("tune", ["emb.h5"], "--timeout", "--timeout-seconds", "5"),
        ("fit", ["emb.h5", "-o", "model"], "--timeout", "--timeout-seconds", "5"),
    ],
)
def test_old_and_new_name_of_an_option_are_one(command, given, old, new, value, capsys):
    parser = build_parser(command, "")[1]
    renamed, plain = (parser.parse_words([*given, name, value]) for name in (old, new))
    assert renamed == plain != parser.parse_words(given)
    assert capsys.readouterr().err == f"embedx: warning: {old} is now called {new}\n"


@pytest.mark.slow
def test_one_clip_is_not_called_clips(tmp_path, capsys):
    import soundfile

    (tmp_path / "dog").mkdir()
    soundfile.write(tmp_path / "dog" / "a.wav", [0.1, -0.1] * 8000, 16000)
    (tmp_path / "dog" / "b.wav").write_bytes(b"no audio")
    assert main(["extract", str(tmp_path), "-o", str(tmp_path / "e.h5"), "--encoder", "tiny", "--workers", "0"]) == 3
    out = capsys.readouterr().out
    assert "1 clip (1 s of audio) embedded" in out
    assert "1 clip failed and has no rows" in out


@pytest.mark.parametrize("words", ["--help", "predict --help", "--version", "encoders"])
def test_a_reader_that_leaves_is_no_error(words):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "embedx", *words.split()]
    with os.fdopen(write, "wb") as nobody:
        done = subprocess.run(command, stdout=nobody, stderr=subprocess.PIPE, text=True, check=False, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")
