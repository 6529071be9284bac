"""Names, labels and words of strangers: no command lets an escape sequence or a direction mark through."""

import re

import numpy as np
import pytest

from embedx.cli import COMMANDS, main
from embedx.testing import make_tone, write_wav

HOSTILE = "\x1b]0;owned\a\x1b[2J\u202e"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two classes, one of a hostile name; a hostile file name; one that is no audio; one with a line break."""
    root = tmp_path_factory.mktemp("hostile") / "clips"
    rng = np.random.default_rng(0)
    for label, pitch in (("cat", 300.0), (f"do{HOSTILE}g", 1200.0)):
        (root / label).mkdir(parents=True)
        for i in range(6):
            name = f"{i}\nforged line{HOSTILE}.wav" if i == 0 else f"{i}{HOSTILE}.wav"
            write_wav(
                str(root / label / name), make_tone(pitch * rng.uniform(0.9, 1.1), seconds=1.0, noise=0.05, seed=i)
            )
    (root / "cat" / f"bad{HOSTILE}.wav").write_text("not audio")
    return root


@pytest.fixture
def shown(capsys):
    """Run a command; return its exit code and all that it showed, which holds nothing raw."""

    def run(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        both = capsys.readouterr()
        text = both.out + both.err
        assert not RAW.search(text), repr(text)
        assert "forged line" not in [line[:11] for line in text.splitlines()]
        return code, text

    return run


@pytest.mark.slow
def test_the_way_from_audio_to_a_comparison(clips, tmp_path, shown):
    store, log = tmp_path / "emb.h5", tmp_path / "log"
    code, text = shown("extract", clips, "-o", store, "--encoder", "tiny", "--workers", "0", "--log-file", log)
    assert code == 3
    assert "bad\\u001b]0;owned" in text
    assert not RAW.search(log.read_text())
    assert "\\u202e" in shown("info", store)[1]
    assert "bad\\u001b" in shown("info", store, "--failures")[1]
    assert shown("verify", store)[0] == 0
    assert shown("inspect", store)[0] == 0
    options = ("--heads", "logreg", "--folds", "2", "--no-curves", "--no-auto")
    assert shown("compare", store, *options, "-o", tmp_path / "results")[0] == 0
    assert shown("fit", store, "--head", "logreg", "-o", tmp_path / "model")[0] == 0
    assert "do\\u001b" in shown("info", tmp_path / "model")[1]
    assert shown("predict", tmp_path / "model", *sorted((clips / "cat").glob("[1-3]*.wav")), "--json")[0] == 0
    assert shown("merge", store, "-o", tmp_path / f"m{HOSTILE}.h5")[0] == 0


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"quickstart", "completion"}))
@pytest.mark.parametrize("words", [[f"--no{HOSTILE}"], [f"no{HOSTILE}"], [f"--log-file=no{HOSTILE}/below", "x", "y"]])
def test_words_that_are_refused(command, words, shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown(command, *words)[0] == 2


@pytest.mark.parametrize(
    "words",
    [
        ["verify", f"no{HOSTILE}.h5"],
        ["info", f"no{HOSTILE}.h5"],
        ["inspect", f"no{HOSTILE}.h5"],
        ["compare", f"no{HOSTILE}.h5", "-o", "out"],
        ["extract", f"no{HOSTILE}", "-o", "out.h5"],
        ["extract", "missing.csv", "-o", "out.h5"],
        ["extract", "conflict.csv", "-o", "out.h5"],
        ["extract", "missing.csv", "-o", f"{HOSTILE}/../missing.csv/out"],
        ["predict", f"no{HOSTILE}", "a.wav"],
        ["fit", "no.h5", "--head", f"no{HOSTILE}", "-o", "out"],
        ["tune", "no.h5", "--budget", f"fa{HOSTILE}st"],
        [f"no{HOSTILE}"],
        ["help", f"no{HOSTILE}"],
    ],
)
def test_errors_that_quote_what_was_given(words, shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "missing.csv").write_text(f"path,label\nno{HOSTILE}such.wav,cat\n")
    write_wav("a.wav", make_tone(300.0, seconds=1.0))
    (tmp_path / "conflict.csv").write_text(f'path,label\na.wav,"l{HOSTILE}"\na.wav,other\n')
    code, text = shown(*words)
    assert code == 2
    assert text.count("\n") == 1


@pytest.mark.parametrize("option", ["--check", "--dry-run"])
def test_a_list_of_links_looked_at(option, shown, tmp_path):
    table = tmp_path / "links.csv"
    rows = [f'https://example.org/x.wav,"l{HOSTILE}"', f'https://example.org/x.wav,"m{HOSTILE}"', f'bad,"x{HOSTILE}"']
    rows += [f'https://example.org/y.wav,"tab\t{HOSTILE}"']
    table.write_text("url,label\n" + "\n".join(rows) + "\n")
    code, text = shown("download", table, option)
    assert code in (0, 3)
    assert "\\u001b" in text
