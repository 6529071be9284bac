"""Results are replaced whole or not at all, and never something else."""

import json
import os
import resource
from dataclasses import replace

import pytest

from embedx.errors import ParameterError
from embedx.report.results import RESULTS, require_results_folder, save_results


@pytest.fixture
def written(hostile, tmp_path):
    save_results(hostile[0], tmp_path / "results", hostile[1])
    return tmp_path / "results"


def in_a_child(work):
    """Run something in a forked process; return what it exits with."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_all_five_are_written_and_written_again(hostile, written):
    assert sorted(path.name for path in written.iterdir()) == sorted(RESULTS)
    assert json.loads((written / "comparison.json").read_text())["schema_version"] == 1
    save_results(hostile[0], written, hostile[1])
    assert sorted(path.name for path in written.iterdir()) == sorted(RESULTS)


def test_a_full_disk_leaves_the_older_files_whole(hostile, written):
    before = {path.name: path.read_bytes() for path in written.iterdir()}

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
        with pytest.raises(ParameterError, match="cannot be written"):
            save_results(hostile[0], written, hostile[1])
        return 7

    assert in_a_child(work) == 7
    assert {path.name: path.read_bytes() for path in written.iterdir()} == before


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_files_of_another_kind_are_left_alone(hostile, tmp_path, name):
    (tmp_path / name).write_text("path,label\na.wav,dog\n")
    for refuse in (lambda: require_results_folder(tmp_path), lambda: save_results(hostile[0], tmp_path)):
        with pytest.raises(ParameterError, match="of another kind"):
            refuse()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_name_that_is_no_utf8_is_written(hostile, tmp_path):
    comparison = hostile[0]
    odd = replace(comparison, sources=tuple(replace(s, uri=f"\udcff{s.uri}") for s in comparison.sources))
    save_results(odd, tmp_path)
    assert "\\udcff<img" in (tmp_path / "predictions.csv").read_text(encoding="utf-8")
    assert "\\udcff" in (tmp_path / "report.html").read_text(encoding="utf-8")
